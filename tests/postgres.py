"""A PostgreSQL server for tests: on a socket in a temporary folder, without a port, under another account."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.migrate import upgrade
from rtseg_daemon.ledger.schema import Base

ACCOUNTS = ("postgres", "nobody")
QUICK = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=60", "autovacuum=off")
"""For a server whose data nobody needs after the test."""


def program(name: str) -> str:
    """The path of a program of PostgreSQL; skips the test where it is missing, unless RTSEG_REQUIRE_PEERS=1."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    found = str(places[0]) if places else shutil.which(name)
    if found is None:
        message = f"{name} is not installed (Debian: postgresql)"
        if os.environ.get("RTSEG_REQUIRE_PEERS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


class Server:
    """One server. It refuses to run as root, who lends it another account's name."""

    def __init__(self, settings: Sequence[str] = QUICK, arguments: Sequence[str] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rtseg-pg-", dir="/tmp"))  # a socket's path may have 107 letters
        self.settings = settings
        self.account = next(pwd.getpwnam(name) for name in ACCOUNTS) if os.getuid() == 0 else None
        if self.account is not None:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)
        self.data = self.folder / "data"
        self.count = 0
        self.shared = ""
        self.run("initdb", "-D", str(self.data), "-U", "rtseg", "-A", "trust", "-E", "UTF8", "--no-sync", *arguments)
        self.start()

    def run(self, name: str, *arguments: str) -> None:
        who = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []} if self.account else {}
        command = [program(name), *arguments]
        log = (self.folder / f"{name}.log").open("ab")  # the server keeps it: a pipe would never end
        with log:
            done = subprocess.run(command, stdout=log, stderr=log, cwd=self.folder, timeout=60, check=False, **who)  # type: ignore[call-overload]
        assert done.returncode == 0, (self.folder / f"{name}.log").read_text()

    def start(self) -> None:
        options = " ".join(f"-c {one}" for one in ("listen_addresses=", *self.settings))
        self.run("pg_ctl", "start", "-w", "-D", str(self.data), "-o", f"-k {self.folder} {options}")

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends every connection, `immediate` is a crash."""
        self.run("pg_ctl", "stop", "-w", "-D", str(self.data), "-m", mode)

    @property
    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def end(self) -> None:
        try:
            os.kill(self.pid, signal.SIGQUIT)
            self.stop("immediate")
        except (OSError, AssertionError):
            pass  # it is down already
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = "rtseg") -> str:
        return f"postgresql+psycopg://{user}@/{database}?host={self.folder}"

    def do(self, *statements: str) -> None:
        """Run statements outside of any transaction."""
        engine = create_engine(self.url(), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        finally:
            engine.dispose()

    def new_database(self, options: str = "") -> str:
        """The URL of an empty database."""
        self.count += 1
        self.do(f"CREATE DATABASE test{self.count} {options}")
        return self.url(f"test{self.count}")

    def new_ledger(self) -> str:
        """The URL of a database of its own with this version's schema."""
        url = self.new_database()
        engine = open_ledger(url)
        upgrade(engine)
        engine.dispose()
        return url

    def empty_ledger(self) -> str:
        """The URL of the one ledger that tests use after each other, without a row. Numbers begin at 1 again."""
        if not self.shared:
            self.shared = self.new_ledger()
        tables = [table.name for table in Base.metadata.sorted_tables]
        numbered = [table.name for table in Base.metadata.sorted_tables if table.autoincrement_column is not None]
        engine = create_engine(self.shared)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid != pg_backend_pid(); SET session_replication_role = replica; "  # keys need no order then
                + "".join(f"DELETE FROM {name}; " for name in tables)
                + "".join(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), 1, false); " for name in numbered)
            )
        engine.dispose()
        return self.shared


@contextmanager
def running(settings: Sequence[str] = QUICK, arguments: Sequence[str] = ()) -> Iterator[Server]:
    """A server that is gone afterwards."""
    server = Server(settings, arguments)
    try:
        yield server
    finally:
        server.end()
