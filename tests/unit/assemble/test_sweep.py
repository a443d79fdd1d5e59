"""The sweep against a ledger, with a clock that the test turns."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from rtseg_daemon.assemble import inquiry
from rtseg_daemon.assemble import sweep as sweeping
from rtseg_daemon.assemble.inquiry import Inquiry
from rtseg_daemon.assemble.quiet_clock import QuietClock
from rtseg_daemon.assemble.sweep import sweep
from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import DeliveryError
from rtseg_daemon.ledger import associations, refusals
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.series import kept_instances
from rtseg_daemon.ledger.states import Ending, JobState, SeriesState
from tests.faults.conftest import series
from tests.room import Room


@pytest.fixture
def room(tmp_path: Path, ledger: Engine) -> Room:
    return Room(tmp_path, ledger)


def test_a_quiet_whole_series_becomes_a_job_once(room: Room) -> None:
    images = series("a")
    room.put(images)
    room.pass_time(9)
    assert room.states(images) == []
    room.pass_time(1)
    room.pass_time(100)
    assert room.states(images) == [JobState.QUEUED]


def test_every_bundle_of_the_route_gets_its_job(room: Room, tmp_path: Path) -> None:
    (tmp_path / "models" / "other").mkdir()
    text = (tmp_path / "models" / "tiny" / "bundle.yaml").read_text()
    (tmp_path / "models" / "other" / "bundle.yaml").write_text(text.replace("name: tiny", "name: other"))
    route = room.config.routes[0].model_copy(update={"bundle": ("tiny", "other")})
    room.config = room.config.model_copy(update={"routes": (route,)})
    images = series("a")
    room.put(images)
    room.pass_time(10)
    assert [job.bundle for job in room.of(images).jobs] == ["tiny", "other"]


@pytest.mark.parametrize(("allowed", "state"), [(None, SeriesState.HELD), (0.1, SeriesState.COMPLETE)])
def test_uneven_slice_distances_are_held_unless_the_bundle_allows_them(
    room: Room, tmp_path: Path, allowed: float | None, state: SeriesState
) -> None:
    if allowed is not None:
        with (tmp_path / "models" / "tiny" / "bundle.yaml").open("a") as file:
            file.write(f"limits: {{slice_distance_tolerance: {allowed}}}\n")
    images = series("a")
    images[-1].ImagePositionPatient = [*images[-1].ImagePositionPatient[:2], images[-1].ImagePositionPatient[2] + 0.2]
    room.put(images)
    room.pass_time(10)
    room.pass_time(room.config.series.gap_wait_seconds)
    assert room.of(images).state is state
    assert room.states(images) == [JobState.HELD if allowed is None else JobState.QUEUED]


def test_silence_is_counted_anew_when_listening_resumes(room: Room) -> None:
    images = series("a")
    room.put(images)
    room.pass_time(9)
    with writing(room.engine) as session:
        associations.resume_listening(session, at=1e9 + 9)
    room.pass_time(9)
    assert room.states(images) == []
    room.pass_time(1)
    assert room.states(images) == [JobState.QUEUED]


def test_silence_is_counted_anew_by_a_new_supervisor(room: Room) -> None:
    images = series("a")
    room.put(images)
    room.pass_time(9)
    room.clock = QuietClock(now=lambda: room.seconds)
    room.pass_time(9)
    assert room.states(images) == []


def test_a_jump_of_the_wall_clock_completes_nothing(room: Room) -> None:
    images = series("a")
    room.put(images)
    sweep(room.engine, room.config, 1e9, room.clock)
    sweep(room.engine, room.config, 1e9 + 86400, room.clock)
    assert room.states(images) == []


def test_a_series_that_no_route_matches_is_kept_and_listed(room: Room) -> None:
    images = series("a")
    for image in images:
        image.Modality = "OT"
    room.put(images)
    room.pass_time(10)
    assert (room.of(images).state, room.of(images).reasons) == (SeriesState.UNROUTED, ["no route matches"])


def test_the_first_route_that_matches_is_used(room: Room) -> None:
    routes = [
        {"name": "thorax", "match": {"body_part": "chest"}, "bundle": "tiny"},
        {"name": "by-caller", "match": {"calling_ae": "OTHER"}, "bundle": "tiny"},
        {"name": "planning", "match": {"body_part": "head|neck", "series_description": "PLAN"}, "bundle": "tiny"},
        {"name": "rest", "match": {}, "bundle": "tiny"},
    ]
    room.config = Config.model_validate(room.config.model_dump() | {"routes": routes})
    images = series("a")
    room.put(images)
    room.pass_time(10)
    assert [job.route for job in room.of(images).jobs] == ["planning"]


def test_a_damaged_file_is_left_to_the_worker_which_names_it(room: Room) -> None:
    bad, good = series("bad"), series("good")
    room.put(bad)
    room.put(good)
    with reading(room.engine) as session:
        victim = kept_instances(session, room.of(bad).id)[3]
    (room.config.storage.directory / victim.path).write_bytes(b"rubbish")
    room.pass_time(10)
    assert room.states(bad) == room.states(good) == [JobState.QUEUED]
    (verdict,) = room.of(bad).jobs[0].verdicts
    assert (verdict["verdict"], "cannot be read as DICOM" in verdict["reasons"][0]) == ("flag", True)


def test_a_missing_bundle_stops_one_series_and_is_tried_again(room: Room, tmp_path: Path) -> None:
    images = series("a")
    room.put(images)
    yaml = tmp_path / "models" / "tiny" / "bundle.yaml"
    text = yaml.read_text()
    yaml.unlink()
    room.pass_time(10)
    assert room.states(images) == []
    yaml.write_text(text)
    room.pass_time(1)
    assert room.states(images) == [JobState.QUEUED]


def test_of_several_reconstructions_the_preferred_one_is_segmented(room: Room) -> None:
    route = room.config.routes[0].model_copy(update={"prefer": ("imar", "soft")})
    room.config = room.config.model_copy(update={"routes": (route,)})
    soft, imar = series("soft"), series("imar")
    for image in soft:
        image.SeriesDescription, image.StudyInstanceUID = "soft", "1.2.3"
    for image in imar:
        image.SeriesDescription, image.StudyInstanceUID = "HN iMAR", "1.2.3"
    room.put(soft)
    room.pass_time(8)
    room.put(imar)
    room.pass_time(8)
    assert room.states(soft) == [], "the other is still coming"
    room.pass_time(10)
    assert room.states(imar) == [JobState.QUEUED]
    assert room.of(soft).state is SeriesState.UNROUTED
    assert f"series {room.of(imar).id}" in room.of(soft).reasons[0]


def test_a_localizer_is_no_rival_however_thin(room: Room) -> None:
    route = room.config.routes[0].model_copy(update={"prefer": ("imar",)})
    room.config = room.config.model_copy(update={"routes": (route,)})
    scan, topogram = series("scan"), series("topogram", 1)
    for image in (*scan, *topogram):
        image.SeriesDescription, image.StudyInstanceUID = "Head", "1.2.3"
    for image in scan:
        image.SliceThickness = 3.0
    topogram[0].SliceThickness, topogram[0].ImageType = 0.6, ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    room.put(topogram)
    room.put(scan)
    room.pass_time(0)
    room.pass_time(11)
    assert room.states(scan) == [JobState.QUEUED]
    assert room.of(topogram).state is SeriesState.UNROUTED


PACS = {"name": "pacs", "ae_title": "P", "host": "127.0.0.1", "port": 1}


def with_pacs(room: Room, monkeypatch: pytest.MonkeyPatch, *counts: int) -> list[str]:
    """Let the room ask a PACS that says these counts in turn, the last one for ever; returns who was asked about."""
    room.config = Config.model_validate(room.config.model_dump() | {"query": [PACS]})
    room.inquiry = Inquiry(room.engine, room.config, threading.Event(), lambda: room.seconds)
    asked: list[str] = []

    def count(_local: object, _peer: object, _study: str, series_uid: str, _waits: object) -> int:
        asked.append(series_uid)
        return counts[min(len(asked), len(counts)) - 1]

    monkeypatch.setattr(inquiry, "count_images", count)
    return asked


def test_the_count_of_a_pacs_holds_back_a_series_that_is_short(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = with_pacs(room, monkeypatch, 20)
    images = series("a")
    room.put(images[:15])
    room.pass_time(2)
    assert asked == [], "it is asked when the series has been silent for a moment"
    room.pass_time(8)
    room.pass_time(8)
    assert len(asked) == 1, "and not again and again"
    assert room.states(images) == []
    room.put(images[15:])
    room.pass_time(10)
    assert room.states(images) == [JobState.QUEUED]
    assert room.of(images).expected_count == 20


def test_the_count_of_a_pacs_ends_the_wait_after_an_abort(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = with_pacs(room, monkeypatch, 20)
    images = series("a")
    room.put(images, Ending.ABORTED)
    room.pass_time(3)
    room.pass_time(9)
    assert (len(asked), room.states(images)) == (1, []), "one answer alone ends nothing"
    room.pass_time(1)
    assert (len(asked), room.states(images)) == (2, [JobState.QUEUED])


@pytest.mark.parametrize("ending", [Ending.RELEASED, Ending.OPEN, Ending.ABORTED])
def test_a_pacs_that_is_itself_still_receiving_ends_no_wait(
    room: Room, monkeypatch: pytest.MonkeyPatch, ending: Ending
) -> None:
    """Images nine seconds apart: in each pause the PACS has exactly what we have."""
    with_pacs(room, monkeypatch)
    seconds = room.config.series.model_copy(update={"quiet_seconds": 30})
    room.config = room.config.model_copy(update={"series": seconds})
    assert room.inquiry is not None
    room.inquiry.config = room.config
    images, here = series("a"), 0
    monkeypatch.setattr(inquiry, "count_images", lambda *_: here)
    for image in images:
        room.put([image], ending)
        here += 1
        for _ in range(9):
            room.pass_time(1)
        assert room.states(images) == [], f"contoured from {here} of {len(images)}"
        assert room.of(images).expected_count == here
    for _ in range(26 + 1):
        room.pass_time(1)
    assert room.states(images) == [JobState.QUEUED]
    assert room.of(images).jobs[0].last_instance_id == len(images)


def test_a_peer_slow_about_one_series_brings_the_counts_of_the_next_no_closer_together(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first series costs 9 s of each turn. The second is asked about then, and again only a quiet time later."""
    with_pacs(room, monkeypatch)
    slow, next_one = series("a"), series("b")
    asked: list[float] = []

    def count(_local: object, _peer: object, _study: str, series_uid: str, _waits: object) -> int:
        if series_uid == str(slow[0].SeriesInstanceUID):
            room.seconds += 9.0
        else:
            asked.append(room.seconds)
        return 20

    monkeypatch.setattr(inquiry, "count_images", count)
    room.put(slow[:15], Ending.ABORTED)
    room.put(next_one, Ending.ABORTED)
    for _ in range(20):
        room.pass_time(1)
        if room.states(next_one):
            break
    assert room.states(next_one) == [JobState.QUEUED]
    assert len(asked) >= 2
    assert asked[-1] - asked[0] >= room.config.series.quiet_seconds


def test_a_count_is_an_old_one_after_whatever_is_heard_of_the_series(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pacs(room, monkeypatch, 20)
    images = series("a")
    room.put(images[:15], Ending.ABORTED)
    for happening in ("a refusal", "a duplicate", "a restart"):
        room.pass_time(3)
        room.pass_time(10)
        assert room.of(images).counted_instance_id == 15
        if happening == "a refusal":
            with writing(room.engine) as session:
                uids = str(images[0].SeriesInstanceUID), str(images[16].SOPInstanceUID)
                refusals.note_refusal(session, 1, *uids, at=1e9 + room.seconds)
        elif happening == "a duplicate":
            room.put(images[:1], Ending.ABORTED)
        else:
            with writing(room.engine) as session:
                associations.resume_listening(session)
        assert room.of(images).counted_instance_id is None, happening


def test_a_count_of_a_pacs_that_was_still_filling_ends_no_wait(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It said 15 while we had 10; five more make 15, and 20 are still to come."""
    asked = with_pacs(room, monkeypatch, 15, 20)
    images = series("a")
    room.put(images[:10], Ending.OPEN)
    room.pass_time(5)
    room.put(images[10:15], Ending.OPEN)
    room.pass_time(0)
    assert (len(asked), room.of(images).expected_count, room.states(images)) == (1, 15, [])
    room.pass_time(30)
    assert (len(asked), room.of(images).expected_count, room.states(images)) == (2, 20, [])
    room.put(images[15:])
    room.pass_time(3)
    room.pass_time(10)
    assert room.states(images) == [JobState.QUEUED]


def test_a_pacs_that_does_not_answer_changes_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise DeliveryError("nobody there")

    with_pacs(room, monkeypatch, 20)
    monkeypatch.setattr(inquiry, "count_images", refuse)
    images = series("a")
    room.put(images)
    room.pass_time(10)
    assert room.states(images) == [JobState.QUEUED]


def test_while_nobody_listens_silence_means_nothing(room: Room) -> None:
    """A receiver that died in mid-transfer and does not come back: the rest of the series may only be waiting."""
    images = series("a")
    room.put(images[:15], Ending.OPEN)
    room.pass_time(5)
    room.clock.listening = False
    room.pass_time(1000)
    assert room.states(images) == []
    with writing(room.engine) as session:
        assert associations.resume_listening(session) == 1
    room.clock.listening = True
    room.pass_time(1000)
    assert room.states(images) == []
    room.put(images)
    room.pass_time(10)
    assert room.states(images) == [JobState.QUEUED]


def test_a_series_that_breaks_its_assembly_stops_no_other(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = series(1), series(2)
    room.put(first)
    room.put(second)
    whole = sweeping.look_at

    def broken(engine: Engine, config: Config, found: sweeping.Look, *rest: object) -> None:
        if found.series_id == 1:
            raise OverflowError("cannot convert float infinity to integer")
        whole(engine, config, found, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sweeping, "look_at", broken)
    room.pass_time(0)
    room.pass_time(11)
    assert [room.of(images).state for images in (first, second)] == [SeriesState.OPEN, SeriesState.COMPLETE]


def test_a_sweep_reads_once_and_writes_at_most_once_for_each_series(room: Room) -> None:
    waiting, whole = series("waiting"), series("whole")
    room.put(whole)
    room.look()
    room.seconds += 8
    room.put(waiting)
    room.look()
    room.seconds += 3
    begun: list[str] = []
    event.listen(
        room.engine, "begin", lambda one: begun.append("write" if one.get_execution_options().get("write") else "read")
    )
    room.look()
    assert begun == ["read", "read", "write", "read"], "which are open; then the whole one, then the one that waits"
    assert (room.states(whole), room.states(waiting)) == ([JobState.QUEUED], [])
