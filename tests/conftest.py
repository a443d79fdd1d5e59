"""Fixtures that every level of tests uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.migrate import upgrade


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Engine]:
    """An empty ledger in a file of its own."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'rtseg.db'}")
    upgrade(engine)
    yield engine
    engine.dispose()
