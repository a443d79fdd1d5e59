"""Every row of the table of bad input, against the running receiver and the sweep beside it.

What is judged by the whole series: test_bad_series.py.

Implausible HU and padding are seen by the worker: tests/unit/gates/test_gates.py and tests/unit/ct/test_series.py.
"""

import contextlib
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from rtseg_daemon.assemble.sweep import OVERTAKEN
from rtseg_daemon.ledger import moves
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.states import JobState, SeriesState
from tests.faults.conftest import QUIET, Ward, series
from tests.receiver import Peer, Receiver, encoded, store_pdus
from tests.synthetic import uid
from tests.world import wait_for

DATA = Path(__file__).parents[3] / "shared" / "data" / "dicom"


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that knows one caller, and takes objects of a megabyte."""
    callers = [{"ae_title": "PACS", "host": "127.0.0.1"}, {"ae_title": "AWAY", "host": "127.0.0.2"}]
    dicom = {"allowed_callers": callers, "max_object_mb": 1}
    receiver = Receiver(tmp_path_factory.mktemp("strict"), dicom=dicom)
    try:
        yield receiver
    finally:
        receiver.end()


@pytest.mark.parametrize("title", ["STRANGER", "AWAY"])
def test_an_unknown_title_or_address_is_rejected(strict: Receiver, title: str) -> None:
    with Peer(strict.port) as peer:
        assert peer.associate(calling=title) == 3
    with Peer(strict.port) as peer:
        assert peer.associate(calling="PACS") == 2


def test_an_object_that_is_too_large_ends_in_an_abort(strict: Receiver) -> None:
    image = series("large")[0]
    image.PixelData, image.Rows, image.Columns = bytes(2 * 1024 * 1024), 1024, 1024
    with Peer(strict.port) as peer, contextlib.suppress(OSError):  # it may be cut off while it still sends
        assert peer.associate(calling="PACS") == 2
        assert peer.store(image) is None
    assert not strict.has(image.SOPInstanceUID)
    assert not strict.unfinished()


def deep(image: Dataset, levels: int = 400) -> bytes:
    """The image with sequences in sequences (0008,1140), of undefined length, before the patient's name."""
    opened = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    raw = encoded(image)
    cut = raw.index(b"\x10\x00\x10\x00PN")
    return raw[:cut] + opened * levels + closed * levels + raw[cut:]


BROKEN: dict[str, Callable[[Dataset], bytes]] = {
    "undecodable": lambda image: b"\xff" * 512 + encoded(image),
    "truncated": lambda image: encoded(image)[:-300],
    "nested too deep": deep,
    "empty": lambda image: b"",
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_decoded_is_refused_c000(ward: Ward, what: str) -> None:
    image = series(f"broken {what}")[0]
    with Peer(ward.receiver.port) as peer:
        assert peer.associate() == 2
        peer.say(store_pdus(str(image.SOPInstanceUID), BROKEN[what](image)))
        assert peer.status() == 0xC000
    assert not ward.receiver.has(image.SOPInstanceUID)
    assert not ward.receiver.unfinished()


def test_an_abort_in_mid_object_leaves_no_file(ward: Ward) -> None:
    image = series("mid-object")[0]
    with Peer(ward.receiver.port) as peer:
        assert peer.associate() == 2
        peer.say(store_pdus(str(image.SOPInstanceUID), encoded(image), piece=300)[:900])
    wait_for(lambda: not ward.receiver.unfinished(), 10)
    assert not ward.receiver.has(image.SOPInstanceUID)


def test_another_sop_class_is_rejected_as_a_context(ward: Ward) -> None:
    with Peer(ward.receiver.port) as peer:
        results = peer.negotiate({1: ("1.2.840.10008.5.1.4.1.1.77.1.5.4", [ImplicitVRLittleEndian])})
    assert results == {1: 3}


def test_an_unsupported_transfer_syntax_is_rejected_as_a_context(ward: Ward) -> None:
    with Peer(ward.receiver.port) as peer:
        results = peer.negotiate({1: ("1.2.840.10008.5.1.4.1.1.2", [UID("1.2.840.10008.1.2.4.50")])})
    assert results == {1: 4}


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("bad", ["1.2.abc", "../1.2", "1..2"])
def test_a_malformed_uid_is_refused_0117(ward: Ward, keyword: str, bad: str) -> None:
    image = series(f"uid {keyword} {bad}")[0]
    raw = encoded(image).replace(
        str(image[keyword].value).encode(), bad.encode().ljust(len(image[keyword].value), b"\0")
    )
    with Peer(ward.receiver.port) as peer:
        assert peer.associate() == 2
        peer.say(store_pdus(image.SOPInstanceUID, raw))
        assert peer.status() == 0x0117


def test_a_command_that_disagrees_with_its_data_set_is_refused_a900(ward: Ward) -> None:
    image = series("disagree")[0]
    with Peer(ward.receiver.port) as peer:
        assert peer.associate() == 2
        assert peer.store(image, instance="1.2.3.4") == 0xA900


@pytest.mark.parametrize("pixels", [b"", b"\0" * 510])
def test_a_wrong_pixel_length_is_refused_c000(ward: Ward, pixels: bytes) -> None:
    image = series("length")[0]
    image.PixelData = pixels
    assert ward.send([image]) == [0xC000]


def test_pixel_data_longer_than_needed_are_kept_as_they_came(ward: Ward) -> None:
    image = series("longer")[0]
    image.PixelData = image.PixelData + b"\0" * 128
    assert ward.send([image]) == [0]
    assert ward.kept([image]) == 1


def test_a_full_disk_is_answered_a700_and_reception_goes_on_without_a_restart(ward: Ward) -> None:
    images = series("full")
    pid = ward.receiver.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (512, before[1]))  # no file may grow: a disk without room
    try:
        assert ward.send(images[:3]) == [0xA700] * 3
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    assert not ward.receiver.unfinished()
    assert set(ward.send(images)) == {0}
    assert ward.kept(images) == len(images)


def test_a_series_of_which_something_found_no_room_waits_for_the_rest(ward: Ward) -> None:
    images = series("no room for the end")
    pid = ward.receiver.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    with Peer(ward.receiver.port) as peer:
        assert peer.associate() == 2
        assert {peer.store(image) for image in images[:15]} == {0}
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (512, before[1]))
        try:
            assert {peer.store(image) for image in images[15:]} == {0xA700}
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        peer.release()
    ward.until_ended()
    ward.wait(10 * QUIET)
    assert ward.jobs(images) == [], "without a gap, silent, released, and still no whole series"
    assert ward.settled(images).state is JobState.QUEUED


# --- accepted, and then ----------------------------------------------------------------------------------------------


def test_an_exact_duplicate_changes_nothing(ward: Ward) -> None:
    images = series("duplicate")
    assert ward.settled([*images, *images[:5]]).state is JobState.QUEUED
    assert ward.kept(images) == len(images)


def test_a_series_sent_again_after_its_job_makes_no_second_job(ward: Ward) -> None:
    images = series("again")
    ward.settled(images)
    ward.settled(images)
    assert len(ward.jobs(images)) == 1
    assert ward.series(images).state is SeriesState.COMPLETE


def test_the_same_uid_with_an_unimportant_tag_changed_is_a_duplicate(ward: Ward) -> None:
    images = series("tag")
    changed = series("tag")[3]
    changed.SeriesDescription = "another text"
    assert ward.settled([*images, changed]).state is JobState.QUEUED
    assert ward.kept(images) == len(images)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_same_uid_in_another_uncompressed_encoding_is_a_duplicate(ward: Ward, syntax: UID) -> None:
    images = series(f"encoding {syntax}")
    ward.settled(images)
    with Peer(ward.receiver.port) as peer:
        assert peer.associate(syntaxes=(syntax,)) == 2
        peer.say(store_pdus(images[0].SOPInstanceUID, encoded(images[0], syntax)))
        assert peer.status() == 0
        peer.release()
    ward.until_ended()
    assert ward.series(images).state is SeriesState.COMPLETE
    assert ward.kept(images) == len(images)


@pytest.mark.patients
@pytest.mark.parametrize("name", ["JPEG2000LosslessOnly", "JPEGLSLossless", "JPEGProcess14SV1", "RLELossless"])
def test_the_same_uid_compressed_without_loss_is_a_duplicate(ward: Ward, name: str) -> None:
    plain = next(iter(sorted(one("odd_transfer_syntaxes_ct", "*LittleEndianExplicit*"))))
    packed = next(iter(sorted(one("odd_transfer_syntaxes_ct", f"*{name}TransferSyntax*"))))
    first, second = pydicom.dcmread(plain), pydicom.dcmread(packed)
    for dataset in (first, second):
        dataset.SOPInstanceUID, dataset.SeriesInstanceUID = uid(name), uid("s", name)
        dataset.StudyInstanceUID = uid("st", name)
    with Peer(ward.receiver.port) as peer:
        assert peer.associate(syntaxes=(first.file_meta.TransferSyntaxUID,)) == 2
        assert peer.store(first) == 0
    with Peer(ward.receiver.port, 30.0) as peer:
        assert peer.associate(syntaxes=(second.file_meta.TransferSyntaxUID,)) == 2
        assert peer.store(second) == 0
    assert ward.series([first]).state is SeriesState.OPEN
    assert ward.receiver.rows(f"select state from instance where sop_instance_uid = '{uid(name)}'") == [("KEPT",)]


def one(folder: str, pattern: str) -> list[Path]:
    if not (DATA / folder).is_dir():
        pytest.skip(f"needs {folder} beside the checkout")
    return list((DATA / folder).glob(pattern))


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "PatientBirthDate", "FrameOfReferenceUID"])
def test_the_same_uid_with_another_identity_stops_the_jobs_and_holds_for_good(ward: Ward, keyword: str) -> None:
    images = series(f"identity {keyword}")
    assert ward.settled(images).state is JobState.QUEUED
    changed = series(f"identity {keyword}")[2]
    changed[keyword].value = {"PatientBirthDate": "19770707", "FrameOfReferenceUID": "1.9.9"}.get(keyword, "Other")
    assert ward.send([changed]) == [0]
    held = ward.series(images)
    assert (held.state, held.releasable) == (SeriesState.HELD, False)
    job = ward.jobs(images)[-1]
    assert (job.state, job.releasable) == (JobState.HELD, False)
    assert ward.alarms("conflict")


@pytest.mark.parametrize("what", ["pixels", "position", "rescale"])
def test_the_same_uid_with_other_pixels_or_geometry_is_quarantined_and_held(ward: Ward, what: str) -> None:
    images = series(f"content {what}")
    ward.settled(images)
    changed = series(f"content {what}")[2]
    if what == "pixels":
        changed.PixelData = b"\1\4" * 256
    elif what == "position":
        changed.ImagePositionPatient = [0, 0, 6.5]
    else:
        changed.RescaleIntercept = "-1000"
    assert ward.send([changed]) == [0]
    assert ward.series(images).state is SeriesState.HELD
    assert not ward.series(images).releasable
    copies = dict(
        ward.receiver.rows(f"select state, path from instance where sop_instance_uid = '{changed.SOPInstanceUID}'")
    )
    assert copies["QUARANTINED"].startswith("quarantine/")
    assert (ward.receiver.storage / copies["QUARANTINED"]).is_file()
    assert (ward.receiver.storage / copies["KEPT"]).is_file()


def test_a_late_slice_after_the_job_makes_a_new_job_that_supersedes(ward: Ward) -> None:
    images = series("late", 30)
    assert ward.settled(images[:25]).state is JobState.QUEUED
    assert ward.send(images[25:27]) == [0, 0]
    ward.wait(0)
    first = ward.jobs(images)[0]
    assert (first.state, first.error) == (JobState.HELD, OVERTAKEN)
    assert ward.settled(images[27:]).state is JobState.QUEUED
    older, newer = ward.jobs(images)
    assert older.state is JobState.CANCELLED
    assert newer.supersedes_id == older.id


def test_a_late_slice_after_the_result_was_sent_makes_a_new_job_that_supersedes_with_an_alarm(ward: Ward) -> None:
    images = series("too late", 30)
    first = ward.settled(images[:25])
    with writing(ward.engine) as session:
        for state in (JobState.RUNNING, JobState.SEGMENTED, JobState.DELIVERING, JobState.DELIVERED):
            moves.move_job(session, first.id, state, what="test")
    assert ward.settled(images[25:]).state is JobState.QUEUED
    older, newer = ward.jobs(images)
    assert (older.state, newer.supersedes_id) == (JobState.DELIVERED, older.id)
    assert f"superseded:{older.id}" in [alarm.key for alarm in ward.alarms("superseded")]


# --- several at once -------------------------------------------------------------------------------------------------


def test_one_series_over_two_interleaved_associations_becomes_one_job(ward: Ward) -> None:
    images = series("two")
    with Peer(ward.receiver.port) as one_peer, Peer(ward.receiver.port) as other:
        assert (one_peer.associate(), other.associate()) == (2, 2)
        for k, image in enumerate(images):
            assert (one_peer if k % 2 else other).store(image) == 0
            assert (other if k % 2 else one_peer).store(image) == 0
        one_peer.release()
        other.release()
    ward.wait(4 * QUIET)
    assert [job.state for job in ward.jobs(images)] == [JobState.QUEUED]
    assert ward.kept(images) == len(images)


def test_two_series_interleaved_on_one_association_become_two_jobs(ward: Ward) -> None:
    first, second = series("first"), series("second")
    order = np.random.default_rng(0).permutation(2 * len(first))
    assert set(ward.send([[*first, *second][k] for k in order])) == {0}
    ward.wait(4 * QUIET)
    assert [job.state for images in (first, second) for job in ward.jobs(images)] == [JobState.QUEUED] * 2


def test_an_aborted_transfer_waits_for_the_rest(ward: Ward) -> None:
    images = series("abort")
    with Peer(ward.receiver.port) as peer:
        assert peer.associate() == 2
        for image in images[:15]:
            assert peer.store(image) == 0
    ward.until_ended()
    ward.wait(10 * QUIET)
    assert ward.jobs(images) == []
    assert ward.settled(images).state is JobState.QUEUED


def test_an_aborted_transfer_that_never_comes_again_is_held(ward: Ward) -> None:
    images = series("given up")
    with Peer(ward.receiver.port) as peer:
        assert peer.associate() == 2
        for image in images[:18]:
            assert peer.store(image) == 0
    ward.until_ended()
    ward.wait(3601)
    assert ward.jobs(images)[-1].state is JobState.HELD
    assert "broke off" in str(ward.jobs(images)[-1].error)
