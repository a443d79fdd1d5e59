"""`backup` and `restore` as an administrator gives them."""

import os
from pathlib import Path

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.storage import lock_storage
from tests.unit.cli.test_commands import Desk, desk  # noqa: F401 - a fixture
from tests.world import write_config


def jobs_of(one: Desk) -> int:
    with reading(one.ledger) as session:
        return session.query(Job).count()


def test_a_backup_goes_into_its_folder_or_where_it_is_wanted(desk: Desk, tmp_path: Path) -> None:  # noqa: F811
    made = desk.ask("backup")
    assert Path(made["path"]).parent == desk.layout.backup
    assert "by-hand" in made["path"], "it is kept until somebody deletes it"
    for option in ("--out", "--to"):
        wanted = tmp_path / f"elsewhere{option}.db"
        assert desk.ask("backup", option, str(wanted)) == {"path": str(wanted), "size": wanted.stat().st_size}
        status, _, err = desk.run("backup", option, str(wanted))
        assert (status, "is there already; name a new file" in err) == (1, True)


def test_what_was_done_since_a_backup_is_gone_after_its_restore_and_kept_beside(desk: Desk) -> None:  # noqa: F811
    path = desk.ask("backup")["path"]
    desk.job()
    desk.ledger.dispose()
    done = desk.ask("restore", path)
    assert Path(done["set_aside"]).is_file()
    assert (done["source"], done["ledger"]) == (path, str(desk.layout.directory / "rtseg.db"))
    assert desk.ask("jobs", "list") == []


def test_a_running_daemon_keeps_its_ledger(desk: Desk) -> None:  # noqa: F811
    path = desk.ask("backup")["path"]
    desk.job()
    lock = lock_storage(desk.layout)
    try:
        status, _, err = desk.run("restore", path)
    finally:
        os.close(lock)
    assert (status, "another daemon works on" in err, jobs_of(desk)) == (1, True, 1)


def test_a_ledger_in_another_database_is_not_touched(desk: Desk, tmp_path: Path) -> None:  # noqa: F811
    desk.config = write_config(tmp_path, 1, database={"url": "postgresql://somewhere/rtseg"})
    status, _, err = desk.run("restore", "x.db")
    assert status == 1
    assert "use the means of that database" in err


def test_a_file_that_is_not_there_is_named_with_where_backups_are(desk: Desk) -> None:  # noqa: F811
    status, _, err = desk.run("restore", "/nowhere/x.db")
    assert status == 1
    assert f"those of this daemon are in {desk.layout.backup}" in err
