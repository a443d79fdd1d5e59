"""What `serve` asks of a ledger in PostgreSQL before it starts anything."""

from pathlib import Path

import pytest

from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.rehearsal import rehearse
from rtseg_daemon.daemon.startup import prepare_ledger
from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger.migrate import current_revision, newest_revision
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep.doctor import examine
from tests.postgres import Server
from tests.world import write_config


def configured(folder: Path, url: str, host: str = "ct-a") -> tuple[Config, Layout]:
    folder.mkdir(exist_ok=True)
    config = load_config(write_config(folder, 1, database={"url": url, "host_name": host}))
    layout = Layout(config.storage.directory)
    layout.create()
    return config, layout


def test_an_empty_database_becomes_a_ledger_and_no_second_daemon_touches_it(postgres: Server, tmp_path: Path) -> None:
    url = postgres.new_database()
    engine = prepare_ledger(*configured(tmp_path / "a", url))
    assert current_revision(engine) == newest_revision()
    with pytest.raises(LedgerError, match=r"host ct-a works on this ledger, seen .* ago"):
        prepare_ledger(*configured(tmp_path / "b", url, "ct-b"))
    prepare_ledger(*configured(tmp_path / "a", url)).dispose()
    engine.dispose()


def test_an_empty_database_is_no_ledger_for_images_that_are_there(postgres: Server, tmp_path: Path) -> None:
    config, layout = configured(tmp_path, postgres.new_database())
    (layout.series / "2026-01-31").mkdir()
    with pytest.raises(LedgerError, match=r"there is no ledger at .*but .* holds images"):
        prepare_ledger(config, layout)


def test_a_database_that_cannot_hold_a_ledger_is_refused_and_stays_empty(postgres: Server, tmp_path: Path) -> None:
    url = postgres.new_database("ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    config, layout = configured(tmp_path, url)
    with pytest.raises(LedgerError, match="encoding SQL_ASCII"):
        prepare_ledger(config, layout)
    found = {one.subject: one for one in rehearse(config)}["database"]
    assert not found.ok
    assert "encoding SQL_ASCII" in found.message


def test_config_check_says_what_answers_or_that_nothing_does(postgres: Server, tmp_path: Path) -> None:
    config, _ = configured(tmp_path, postgres.url("nowhere"))
    found = {one.subject: one for one in rehearse(config)}["database"]
    assert (found.ok, 'database "nowhere" does not exist; mend database.url' in found.message) == (False, True)


def test_doctor_asks_the_server_and_compares_the_storage_all_the_same(postgres: Server, tmp_path: Path) -> None:
    config, layout = configured(tmp_path, postgres.new_database())
    engine = prepare_ledger(config, layout)
    (layout.incoming / "x.part").write_bytes(b"")
    kinds = {finding.kind for finding in examine(engine, config, repair=False)}
    assert {"database", "young"} <= kinds, "fsync is off at the tests' server, and a file lies about"
    engine.dispose()
