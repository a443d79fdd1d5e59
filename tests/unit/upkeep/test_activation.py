"""A version serves when it is whole and passes, in one step that a crash cannot halve, and everybody hears of it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from rtseg_daemon.bundles import Bundle, load_bundle
from rtseg_daemon.errors import BundleError
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.upkeep import activation
from rtseg_daemon.upkeep.activation import activate, roll_back, tell
from rtseg_daemon.upkeep.audit_messages import encode
from rtseg_daemon.upkeep.audit_trail import told_by_person
from rtseg_daemon.versions import Step, read_active
from tests.tiny import make_bundle


def passes(_bundle: Bundle) -> str:
    return "3 golden cases"


def fails(bundle: Bundle) -> str:
    raise BundleError(f"{bundle.version} may not serve: on golden case 101 Larynx falls")


def switch(models: Path, version: str, why: str = "commissioned") -> Step:
    return activate(models, "tiny", version, who="me", why=why, check=passes)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Version 1.0 in the old layout, and 2.0 and 3.0 beside it."""
    make_bundle(tmp_path / "models")
    make_bundle(tmp_path / "models", version="2.0", members=1)
    make_bundle(tmp_path / "models", version="3.0", members=3)
    return tmp_path / "models"


def test_activation_and_rollback_go_through_the_versions_and_the_old_ones_stay(models: Path) -> None:
    first = switch(models, "2.0")
    assert (first.before, first.after, first.golden) == ("1.0", "2.0", "3 golden cases")
    switch(models, "3.0")
    assert load_bundle(models, "tiny").version == "3.0"
    assert roll_back(models, "tiny", who="me", why="too large").after == "2.0"
    last = roll_back(models, "tiny", who="me", why="larger still")
    assert (last.number, last.what, last.before, last.after) == (4, "rolled back", "2.0", "1.0")
    assert load_bundle(models, "tiny").folder == models / "tiny"
    assert load_bundle(models, "tiny@3.0").version == "3.0"
    with pytest.raises(BundleError, match="no version of tiny served before the present one"):
        roll_back(models, "tiny", who="me", why="again")


def test_what_serves_already_is_not_activated_again(models: Path) -> None:
    with pytest.raises(BundleError, match=r"tiny 1\.0 serves already"):
        switch(models, "1.0")
    switch(models, "2.0")
    with pytest.raises(BundleError, match=r"tiny 2\.0 serves already"):
        switch(models, "2.0")


def test_a_version_that_does_not_verify_or_fails_a_golden_case_is_not_activated(models: Path) -> None:
    with pytest.raises(BundleError, match=r"3\.0 may not serve: on golden case 101 Larynx falls"):
        activate(models, "tiny", "3.0", who="me", why="new", check=fails)
    weights = models / "tiny" / "2.0" / "member0.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(BundleError, match=r"member0\.safetensors was altered"):
        switch(models, "2.0")
    with pytest.raises(BundleError, match=r"bundle tiny has no version 4\.0"):
        switch(models, "4.0")
    with pytest.raises(BundleError, match=r"no bundle '\.\./tiny' in .* \(there: tiny\)"):
        activate(models, "../tiny", "2.0", who="me", why="new", check=passes)
    assert not (models / "tiny" / "active.json").exists()
    assert load_bundle(models, "tiny").version == "1.0"


def test_a_version_that_was_altered_since_is_no_way_back(models: Path) -> None:
    switch(models, "2.0")
    switch(models, "3.0")
    path = models / "tiny" / "2.0" / "bundle.yaml"
    path.write_text(path.read_text().replace("random weights", "better weights"))
    with pytest.raises(BundleError, match=r"was altered since it served .*; install tiny 2\.0 again"):
        roll_back(models, "tiny", who="me", why="too large")
    assert load_bundle(models, "tiny").version == "3.0"


def test_a_folder_that_cannot_be_written_leaves_the_old_version(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rtseg_daemon.versions.write_durably", full)
    with pytest.raises(BundleError, match=r"cannot be written \(No space left on device\); the version that served"):
        switch(models, "2.0")
    assert load_bundle(models, "tiny").version == "1.0"


def die_at(models: Path, last: int) -> int:
    """Activate 2.0 in a process that ends at its `last` call to the disk. Returns its exit status, 9 for that end."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    calls = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            if calls == last:
                os._exit(9)
            calls += 1
            return real(*arguments, **options)

        return call

    def check(_bundle: Bundle) -> str:
        for name in ("open", "fsync", "close", "fdopen", "rename"):
            setattr(os, name, dying(getattr(os, name)))
        return "passed"

    try:
        activate(models, "tiny", "2.0", who="me", why="w", check=check)
        os._exit(0)
    finally:
        os._exit(1)


def test_a_process_that_dies_at_any_call_leaves_the_old_version_or_the_new_one(models: Path) -> None:
    switch(models, "3.0")
    served = []
    for last in range(12):
        assert die_at(models, last) in (0, 9)
        served.append(load_bundle(models, "tiny").version)
        if served[-1] == "2.0":
            break
    assert served == ["3.0"] * (len(served) - 1) + ["2.0"]
    assert len(served) > 4
    assert [step.after for step in read_active(models, "tiny").steps] == ["3.0", "2.0"]


def test_two_decisions_at_once_come_one_after_the_other(models: Path) -> None:
    later = threading.Thread(target=lambda: switch(models, "3.0"))

    def meanwhile(_bundle: Bundle) -> str:
        later.start()
        later.join(0.3)
        return "slow"

    activate(models, "tiny", "2.0", who="me", why="w", check=meanwhile)
    later.join(10)
    assert [(step.before, step.after) for step in read_active(models, "tiny").steps] == [("1.0", "2.0"), ("2.0", "3.0")]


def test_every_step_is_one_event_whoever_tells_it_and_goes_to_the_audit_trail(models: Path, ledger: Engine) -> None:
    switch(models, "2.0", why="commissioned on 40 cases")
    assert [(name, step.after) for name, step in tell(ledger, models)] == [("tiny", "2.0")]
    assert tell(ledger, models) == []
    roll_back(models, "tiny", who="she", why="parotids too large")
    tell(ledger, models)
    with reading(ledger) as session:
        found = list(session.scalars(select(Event).where(Event.subject == activation.SUBJECT).order_by(Event.id)))
        assert [(event.what, event.who, event.detail["after"]) for event in found] == [
            ("activated", "me", "2.0"), ("rolled back", "she", "1.0"),
        ]  # fmt: skip
        line = encode(told_by_person(found[0])).decode()
    assert 'ParticipantObjectID="bundle tiny"' in line
    assert "activated to 2.0: commissioned on 40 cases" in line
