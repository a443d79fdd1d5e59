"""Series that come again after they were held, left alone or removed, and what is heard while the sweep looks."""

import copy
from pathlib import Path

import pytest
from pydicom import Dataset
from sqlalchemy import Engine

from rtseg_daemon.assemble import sweep
from rtseg_daemon.config.sections import Match
from rtseg_daemon.ledger import associations, jobs, refusals
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Alarm, Series
from rtseg_daemon.ledger.states import Ending, InstanceState, JobState, SeriesState
from tests.faults.conftest import series
from tests.room import Room


@pytest.fixture
def room(tmp_path: Path, ledger: Engine) -> Room:
    return Room(tmp_path, ledger)


def abandoned(room: Room, images: list[Dataset]) -> None:
    """A whole series whose transfer was aborted, given up and held."""
    room.put(images, Ending.ABORTED)
    room.pass_time(room.config.series.abandon_minutes * 60.0)
    assert room.of(images).state is SeriesState.HELD
    assert room.states(images) == [JobState.HELD]


def test_what_is_held_waits_for_a_person_whatever_is_sent_again(room: Room) -> None:
    """One image that is here already tells nothing about those that never came."""
    images = series("a")
    abandoned(room, images)
    room.put(images[:1])
    room.pass_time(1000)
    assert room.of(images).state is SeriesState.HELD
    assert room.states(images) == [JobState.HELD]


def test_a_series_that_no_route_matched_is_contoured_when_it_is_sent_again_to_a_mended_route(room: Room) -> None:
    images, right = series("a"), room.config.routes
    wrong = right[0].model_copy(update={"match": Match(modality="MR")})
    room.config = room.config.model_copy(update={"routes": (wrong,)})
    room.put(images)
    room.pass_time(10)
    assert room.of(images).state is SeriesState.UNROUTED
    room.config = room.config.model_copy(update={"routes": right})
    room.put(images)
    room.pass_time(10)
    assert room.of(images).state is SeriesState.COMPLETE
    assert room.states(images) == [JobState.QUEUED]


@pytest.mark.parametrize("news", ["a refusal", "an image"])
def test_what_is_heard_while_the_sweep_looks_at_others_opens_the_decision_again(
    room: Room, monkeypatch: pytest.MonkeyPatch, news: str
) -> None:
    """The facts of a series are gathered; before they are acted on its last slice is refused, or comes."""
    images = series("a")
    room.put(images[:-1])
    room.look()
    room.seconds += 10
    decide = sweep.look_at

    def meanwhile(*arguments: object) -> None:
        if news == "an image":
            room.put(images[-1:])
        else:
            with writing(room.engine) as session:
                one = associations.open_association(session, "PACS", "127.0.0.1")
                uids = (str(images[-1].SeriesInstanceUID), str(images[-1].SOPInstanceUID))
                refusals.note_refusal(session, one, *uids, at=1e9 + room.seconds)
        decide(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep, "look_at", meanwhile)
    room.look()
    monkeypatch.setattr(sweep, "look_at", decide)
    assert room.of(images).state is SeriesState.OPEN
    assert room.states(images) == []
    room.put(images[-1:])
    room.pass_time(10)
    assert room.states(images) == [JobState.QUEUED]


def removed(room: Room, images: list[Dataset]) -> None:
    """The series was complete, contoured and delivered, and retention took its files."""
    room.put(images)
    room.pass_time(10)
    with writing(room.engine) as session:
        found = session.query(Series).filter_by(series_instance_uid=str(images[0].SeriesInstanceUID)).one()
        for job in found.jobs:
            jobs.cancel(session, job.id, "anna")
        for instance in found.instances:
            instance.state = InstanceState.REMOVED
        session.flush()
        move_series(session, found.id, SeriesState.REMOVED, what="removed by retention")


def changed(images: list[Dataset], **values: object) -> list[Dataset]:
    out = [copy.deepcopy(image) for image in images]
    for image in out:
        for keyword, value in values.items():
            setattr(image, keyword, value)
    return out


def test_what_retention_removed_comes_again_as_new(room: Room) -> None:
    images = series("a")
    removed(room, images)
    room.put(images)
    room.pass_time(10)
    assert room.of(images).state is SeriesState.COMPLETE
    assert len(room.of(images).jobs) == 2


@pytest.mark.parametrize("change", [{"PatientID": "NEW"}, {"PixelSpacing": [0.5, 0.5]}])
def test_another_patient_or_place_under_the_uids_of_what_retention_removed_is_held(
    room: Room, change: dict[str, object]
) -> None:
    images = series("a")
    removed(room, images)
    room.put(changed(images, **change))
    room.pass_time(1000)
    found = room.of(images)
    assert (found.state, found.releasable, len(found.jobs)) == (SeriesState.HELD, False, 1)
    with reading(room.engine) as session:
        assert [alarm.kind for alarm in session.query(Alarm)] == ["conflict"]
    room.put(images)
    room.pass_time(1000)
    assert room.of(images).state is SeriesState.HELD


def test_a_contradiction_that_names_a_removed_series_holds_both(room: Room) -> None:
    old, new = series("a"), series("b")
    removed(room, old)
    regrouped = changed(old[:1], SeriesInstanceUID=new[0].SeriesInstanceUID)
    room.put([*regrouped, *new])
    room.put(old)
    room.pass_time(1000)
    assert [room.of(images).state for images in (old, new)] == [SeriesState.HELD, SeriesState.HELD]
