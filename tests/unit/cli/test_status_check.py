"""`status --check` tells the truth: what is wrong is not 0, and is said with what to do."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.supervision import Pulse, note_process, note_pulse
from rtseg_daemon.segment.engines.making import Workshop
from rtseg_daemon.storage import Layout, lock_storage
from tests.certificates import Authority
from tests.unit.cli.test_commands import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """A desk beside a daemon that runs well: its lock, its receiver, its pulse."""
    desk = Desk(tmp_path, monkeypatch, capsys)
    held = lock_storage(desk.layout)
    pulse(desk, 1.0, {"receiver": 0.5})
    with writing(desk.ledger) as session:
        note_process(session, "receiver", os.getpid(), "running", 0)
    yield desk
    os.close(held)
    desk.ledger.dispose()


def pulse(desk: Desk, age: float, silent: dict[str, float], overdue: dict[str, float] | None = None) -> None:
    with writing(desk.ledger) as session:
        note_pulse(session, Pulse(os.getpid(), time.monotonic() - age, silent, overdue or {}))


def test_a_daemon_that_runs_well_is_0(desk: Desk) -> None:
    status, out, _ = desk.run("status", "--check", "--json")
    assert (status, json.loads(out)["problems"]) == (0, [])


@pytest.mark.parametrize(
    ("age", "silent", "overdue", "said"),
    [
        (600.0, {}, {}, "the supervisor gave no sign of life for 600 s"),
        (1.0, {"receiver": 60.0}, {}, "receiver gave no sign of life for 60 s"),
        (1.0, {}, {"sweep": 300.0}, "'sweep' has not ended without an error for 300 s"),
    ],
)
def test_what_stands_still_is_1_and_named(desk: Desk, age: float, silent: Any, overdue: Any, said: str) -> None:
    pulse(desk, age, silent, overdue)
    status, out, _ = desk.run("status", "--check", "--json")
    assert (status, len(json.loads(out)["problems"])) == (1, 1)
    assert said in json.loads(out)["problems"][0]
    assert said.split(" gave")[0].split(" has")[0] in desk.run("status")[1]


def test_a_damaged_ledger_is_1_and_says_restore_a_backup(desk: Desk) -> None:
    desk.ledger.dispose()
    for file in desk.layout.directory.glob("rtseg.db*"):
        file.write_bytes(b"no database" * 1000)
    status, out, err = desk.run("status", "--check")
    assert (status, out) == (1, "")
    assert "the ledger is damaged" in err
    assert "restore a backup" in err
    status, out, _ = desk.run("status", "--check", "--json")
    assert (status, len(json.loads(out)["problems"])) == (1, 1)


def test_a_file_system_that_takes_no_writes_is_1_and_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Layout, "read_only", lambda _layout: True)
    status, out, _ = desk.run("status", "--check")
    assert status == 1
    assert "takes no writes" in out


def test_our_own_certificate_that_has_ended_is_1_and_named(desk: Desk, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    own = authority.issue("own", days=("20200101000000Z", "20210203040506Z"))
    tls = {"certificate": str(own.certificate), "key": str(own.key), "ca": str(authority.certificate)}
    settings = yaml.safe_load(desk.config.read_text())
    settings["dicom"]["tls"] = tls
    desk.config.write_text(yaml.safe_dump(settings))
    status, out, _ = desk.run("status", "--check", "--json")
    (problem,) = json.loads(out)["problems"]
    assert status == 1
    assert "ended on 2021-02-03 04:05 UTC" in problem
    assert "this daemon" in problem


def test_a_ledger_that_is_not_there_is_1_and_named(desk: Desk) -> None:
    desk.ledger.dispose()
    for file in desk.layout.directory.glob("rtseg.db*"):
        file.unlink()
    status, _, err = desk.run("status", "--check")
    assert status == 1
    assert "there is no ledger at" in err


def test_a_first_start_that_compiles_says_so_with_the_time_it_will_take(desk: Desk) -> None:
    shop = Workshop(desk.layout.engine_cache, "han-oar", "sepnet", 6, now=lambda: time.monotonic() - 60.0)
    desk.layout.engine_cache.mkdir(exist_ok=True)
    shop.begin()
    with writing(desk.ledger) as session:
        note_process(session, "worker-0", os.getpid(), "running", 0)
    (compiling,) = desk.ask("status")["compiling"]
    assert (compiling["bundle"], compiling["done"], compiling["total"]) == ("han-oar", 0, 6)
    assert 59.0 <= compiling["seconds"] <= 80.0
    assert "compiles bundle han-oar for this machine" in desk.run("status")[1].replace("\n", " ")
    assert desk.run("status", "--check")[0] == 0, "it is no fault"
    shop.close()
    assert desk.ask("status")["compiling"] == []
