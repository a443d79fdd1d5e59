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


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a ledger with this version's schema, made once: the migrations take longer than most tests."""
    file = tmp_path_factory.mktemp("ledger") / "rtseg.db"
    engine = open_ledger(f"sqlite:///{file}")
    upgrade(engine)
    engine.dispose()
    return file.read_bytes()


@pytest.fixture
def ledger(tmp_path: Path, empty_ledger: bytes) -> Iterator[Engine]:
    """An empty ledger in a file of its own."""
    file = tmp_path / "rtseg.db"
    file.write_bytes(empty_ledger)
    engine = open_ledger(f"sqlite:///{file}")
    engine.connect().close()  # as after a migration: it knows from now on which file is its own
    yield engine
    engine.dispose()
