"""The disk of the database server is full: nothing is acknowledged, the reason is told, and it goes on by itself."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.loss import hindrance, is_lost_connection, loss
from rtseg_daemon.ledger.migrate import upgrade
from rtseg_daemon.ledger.schema import Setting
from tests.postgres import Server

SMALL, LARGER = "size=24m", "size=64m"
PIECE = os.urandom(150_000).hex()
"""What a server cannot make smaller. A hundred of these are more than the disk."""


@pytest.fixture
def disk(postgres: Server) -> Iterator[Path]:
    """A small disk of the server's own: a file system in memory, which only root can mount."""
    folder = postgres.folder / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", SMALL, "rtseg-test", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("only root can mount a file system")
    try:
        if postgres.account is not None:
            os.chown(folder, postgres.account.pw_uid, postgres.account.pw_gid)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small(postgres: Server, disk: Path) -> Iterator[Engine]:
    """A ledger on that disk."""
    postgres.do(f"CREATE TABLESPACE small LOCATION '{disk}'")
    engine = open_ledger(postgres.new_database("TABLESPACE small"))
    upgrade(engine)
    yield engine
    engine.dispose()
    postgres.do(f"DROP DATABASE test{postgres.count}", "DROP TABLESPACE small")


def write_until_full(ledger: Engine) -> tuple[int, SQLAlchemyError]:
    """How many pieces were committed, and what the next one met."""
    for number in range(100):
        try:
            with writing(ledger) as session:
                session.add(Setting(key=f"piece {number}", value=PIECE))
        except SQLAlchemyError as error:
            return number, error
    raise AssertionError("the disk is larger than all pieces")


def test_a_full_disk_is_told_and_when_there_is_room_again_it_goes_on(small: Engine, disk: Path) -> None:
    kept, error = write_until_full(small)
    assert "No space left on device" in hindrance(error)
    assert "\n" not in hindrance(error)
    assert PIECE[:100] not in hindrance(error)
    assert loss(error) is None, "nothing is lost: somebody makes room"
    assert not is_lost_connection(error)
    subprocess.run(["mount", "-o", f"remount,{LARGER}", str(disk)], check=True)
    pieces = select(func.count()).where(Setting.key.startswith("piece"))
    with reading(small) as session:  # a server without room may fail to read too: it must first write what it drops
        assert session.scalar(pieces) == kept > 0, "what was committed is there, and nothing else"
    with writing(small) as session:
        session.add(Setting(key="piece after", value=PIECE))
    with reading(small) as session:
        assert session.scalar(pieces) == kept + 1
