"""A series that lost an image does not pass for whole: whichever image, on whatever association, and whyever."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydicom import Dataset

from rtseg_daemon.ledger import refusals
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Series
from rtseg_daemon.ledger.series import hold_series
from rtseg_daemon.ledger.states import JobState, SeriesState
from tests.faults.conftest import QUIET, Ward, series
from tests.receiver import RELEASE, Peer, encoded, store_pdus
from tests.world import wait_for

UNFIT: dict[str, Callable[[Dataset], bytes]] = {
    "cut off": lambda image: encoded(image)[:-300],
    "names no series": lambda image: b"\xff" * 512,
}


@contextmanager
def associated(ward: Ward) -> Iterator[Peer]:
    """An association that is released at the end and noted."""
    with Peer(ward.receiver.port) as peer:
        assert peer.associate() == 2
        yield peer
        peer.release()
    ward.until_ended()


def refuse(peer: Peer, image: Dataset, what: str = "cut off") -> None:
    peer.say(store_pdus(str(image.SOPInstanceUID), UNFIT[what](image)))
    assert peer.status() == 0xC000


def send_but(ward: Ward, images: list[Dataset], place: int, what: str, apart: bool) -> None:
    """All images in order, the one at `place` unfit; on one association, or each on its own."""
    groups = [[image] for image in images] if apart else [images]
    for group in groups:
        with associated(ward) as peer:
            for image in group:
                if image is images[place]:
                    refuse(peer, image, what)
                else:
                    assert peer.store(image) == 0


@pytest.mark.parametrize(("what", "apart"), [("cut off", False), ("cut off", True), ("names no series", False)])
@pytest.mark.parametrize("place", [0, -1])
def test_a_series_waits_for_an_end_that_was_refused(ward: Ward, what: str, place: int, apart: bool) -> None:
    images = series(f"unfit {what} {place} {apart}")
    send_but(ward, images, place, what, apart)
    ward.wait(10 * QUIET)
    assert ward.jobs(images) == []
    assert any(f"series {ward.series(images).id}:" in alarm.message for alarm in ward.alarms("refused"))
    assert ward.send([images[place]]) == [0]
    ward.wait(4 * QUIET)
    assert [job.state for job in ward.jobs(images)] == [JobState.QUEUED]
    assert ward.kept(images) == len(images)


def test_an_image_that_comes_after_all_on_the_same_association_is_waited_for_no_longer(ward: Ward) -> None:
    images = series("unfit, then fit")
    with associated(ward) as peer:
        refuse(peer, images[0])
        assert {peer.store(image) for image in images} == {0}
    ward.wait(4 * QUIET)
    assert [job.state for job in ward.jobs(images)] == [JobState.QUEUED]


def test_a_refusal_on_an_association_that_stays_open_is_known_at_once(ward: Ward) -> None:
    images = series("unfit on an open association")
    with associated(ward) as peer:
        refuse(peer, images[0])
        assert {peer.store(image) for image in images[1:]} == {0}
        ward.wait(40 * QUIET)
        assert ward.jobs(images) == []


def test_a_series_that_lost_an_image_for_good_is_held_with_the_reason(ward: Ward) -> None:
    images = series("unfit for good")
    send_but(ward, images, -1, "cut off", apart=False)
    ward.wait(3601)
    assert ward.jobs(images)[-1].state is JobState.HELD
    assert "1 of its images was refused" in str(ward.jobs(images)[-1].error)


def test_another_series_of_the_same_association_is_not_kept_waiting(ward: Ward) -> None:
    whole, short = series("whole beside unfit"), series("unfit beside whole")
    with associated(ward) as peer:
        assert {peer.store(image) for image in [*whole, *short[:-1]]} == {0}
        refuse(peer, short[-1])
    ward.wait(4 * QUIET)
    assert [job.state for job in ward.jobs(whole)] == [JobState.QUEUED]
    assert ward.jobs(short) == []


def test_an_image_refused_after_its_series_was_complete_stops_what_was_made_of_it(ward: Ward) -> None:
    images = series("unfit and late")
    assert ward.settled(images[:-1]).state is JobState.QUEUED
    with associated(ward) as peer:
        refuse(peer, images[-1])
    assert ward.jobs(images)[-1].state is JobState.HELD
    assert ward.series(images).state is SeriesState.OPEN
    assert ward.send([images[-1]]) == [0]
    ward.wait(4 * QUIET)
    assert [job.state for job in ward.jobs(images)] == [JobState.CANCELLED, JobState.QUEUED]


def test_a_release_in_the_middle_of_an_image_is_no_orderly_end_of_its_series(ward: Ward) -> None:
    images = series("released in an image")
    with Peer(ward.receiver.port) as peer:
        assert peer.associate() == 2
        assert {peer.store(image) for image in images[:-1]} == {0}
        peer.say(store_pdus(str(images[-1].SOPInstanceUID), encoded(images[-1]), piece=400)[:-400] + RELEASE)
        peer.pdu()
    ward.until_ended()
    ward.wait(10 * QUIET)
    assert ward.jobs(images) == []
    assert ward.send([images[-1]]) == [0]


def test_an_image_that_found_no_room_on_an_association_of_its_own_is_waited_for(ward: Ward) -> None:
    images = series("no room, apart")
    assert {ward.send([image])[0] for image in images[:-1]} == {0}
    pid = ward.receiver.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (512, before[1]))
    try:
        assert ward.send([images[-1]]) == [0xA700]
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    uid = images[-1].SOPInstanceUID
    wait_for(lambda: bool(ward.receiver.rows(f"select 1 from refusal where sop_instance_uid = '{uid}'")), 10)
    assert ward.send([images[0]]) == [0]
    ward.wait(10 * QUIET)
    assert ward.jobs(images) == []
    assert ward.settled(images).state is JobState.QUEUED


def test_a_series_whose_image_is_kept_in_another_series_is_held_like_that_one(ward: Ward) -> None:
    first, second = series("owner"), series("lacks an end")
    second[-1].SOPInstanceUID = first[-1].SOPInstanceUID
    assert ward.settled(first).state is JobState.QUEUED
    assert set(ward.send(second)) == {0}
    ward.wait(4 * QUIET)
    for images in (first, second):
        assert ward.series(images).state is SeriesState.HELD
        assert not ward.series(images).releasable
    assert ward.jobs(second) == []


def test_an_altered_file_is_mended_by_sending_its_series_again(ward: Ward) -> None:
    images = series("altered")
    assert ward.settled(images).state is JobState.QUEUED
    (name,) = ward.receiver.rows(f"select path from instance where sop_instance_uid = '{images[3].SOPInstanceUID}'")[0]
    path = ward.receiver.storage / name
    good = path.read_bytes()
    path.write_bytes(good[:-2] + b"\xff\xff")
    assert set(ward.send(images)) == {0}
    assert path.read_bytes() == good
    assert ward.kept(images) == len(images)


def test_an_altered_file_is_mended_by_a_copy_with_other_bytes(ward: Ward) -> None:
    """A PACS writes other optional tags than the scanner did: the pixels of a damaged file cannot decide."""
    images = series("altered and coerced")
    assert ward.settled(images).state is JobState.QUEUED
    (name,) = ward.receiver.rows(f"select path from instance where sop_instance_uid = '{images[3].SOPInstanceUID}'")[0]
    (ward.receiver.storage / name).write_bytes(b"rubbish")
    images[3].InstitutionName = "elsewhere"
    assert set(ward.send(images)) == {0}
    assert ward.kept(images) == len(images)
    assert ward.series(images).state is SeriesState.COMPLETE
    (now,) = ward.receiver.rows(f"select path from instance where sop_instance_uid = '{images[3].SOPInstanceUID}'")[0]
    assert (ward.receiver.storage / now).stat().st_size > 1000


def test_what_a_held_series_lacks_is_not_forgotten_by_retention(ward: Ward) -> None:
    """The last image was refused; the series has no gap, so nothing else would tell."""
    images = series("kept waiting")
    with associated(ward) as peer:
        for image in images[:-1]:
            assert peer.store(image) == 0
        refuse(peer, images[-1])
    with writing(ward.engine) as session:
        found = session.query(Series).filter_by(series_instance_uid=str(images[0].SeriesInstanceUID)).one()
        assert refusals.refused_images(session, found) == 1
        refusals.forget(session, before=1e12)
        assert refusals.refused_images(session, found) == 1
        hold_series(session, found.id, ["given up"])
        move_series(session, found.id, SeriesState.REMOVED, what="removed by retention")
        refusals.forget(session, before=1e12)
        assert refusals.refused_images(session, found) == 0
