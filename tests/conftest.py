"""Fixtures that every level of tests uses."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.migrate import upgrade
from tests.postgres import Server, running


class AtOnce:
    """Shows a failure when it happens: a run that is cut off later has said what failed until then."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(
                f"FAILED {report.nodeid} ({report.when}, {report.duration:.0f} s)\n{report.longreprtext}"
            )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the processes of xdist report to the first one
        config.pluginmanager.register(AtOnce(config))


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for all tests of this process that ask for one."""
    with running() as server:
        yield server


@pytest.fixture
def ledger_kind() -> str:
    """Which database holds the ledger. Folders whose tests ask the ledger itself run them on both.

    `RTSEG_LEDGER=postgresql pytest tests/unit/upkeep` runs others there too. Those that are about the file then fail.
    """
    return os.environ.get("RTSEG_LEDGER", "sqlite")


@pytest.fixture
def ledger(ledger_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An empty ledger, in a file or a database of its own."""
    if ledger_kind == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        url = server.empty_ledger()
    else:
        file = tmp_path / "rtseg.db"
        file.write_bytes(request.getfixturevalue("empty_ledger"))
        url = f"sqlite:///{file}"
    engine = open_ledger(url)
    engine.connect().close()  # as after a migration: it knows from now on which file is its own
    yield engine
    engine.dispose()
