"""A worker and its job."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.unit.work.bench import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Engine) -> Any:
    bench = Bench(tmp_path, monkeypatch, ledger)
    yield bench
    bench.desk.engine.dispose()
