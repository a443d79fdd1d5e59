"""A clinic with its ledger."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.clinic import Clinic


@pytest.fixture
def clinic(tmp_path: Path, ledger: Engine) -> Clinic:
    return Clinic(tmp_path, ledger)
