"""Fixtures that every level of tests uses."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.migrate import upgrade


@pytest.fixture(autouse=True)
def fresh_logging() -> Iterator[None]:
    """A test that configures logging binds it to its own captured stderr; the next test starts without."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Engine]:
    """An empty ledger in a file of its own."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'rtseg.db'}")
    upgrade(engine)
    yield engine
    engine.dispose()
