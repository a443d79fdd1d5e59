"""Images that come again with other bytes under their UID: what is compared, what it may cost, and what it proves."""

import copy
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import compress
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from sqlalchemy import Engine

from rtseg_daemon.dicom.dimse import decode_command
from rtseg_daemon.dicom.wire import PeerLimits
from rtseg_daemon.errors import Undecided
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Alarm, Instance, Series
from rtseg_daemon.ledger.states import InstanceState, SeriesState
from rtseg_daemon.receive import comparison, pixel_digest
from rtseg_daemon.receive.comparison import Comparison
from rtseg_daemon.receive.decoding import Broken, Decoder
from rtseg_daemon.receive.group_commit import GroupCommit
from rtseg_daemon.receive.intake import Intake
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.receive.store import ObjectStore
from rtseg_daemon.storage import Layout
from tests.faults.conftest import series
from tests.receiver import command_set, encoded

CT = "1.2.840.10008.5.1.4.1.1.2"


class NoDecoder(Decoder):
    """Fails the test where anything is decoded."""

    def digest(self, path: Path, until: float) -> str | None:
        raise AssertionError("an image was decoded")


class Desk:
    """Reception without a network, with the decoder that the test gives it."""

    def __init__(self, folder: Path, ledger: Engine, decoder: Decoder) -> None:
        self.ledger = ledger
        self.store = ObjectStore(Layout(folder / "storage"))
        self.commits = GroupCommit(ledger, self.store.sync)
        self.commits.start()
        self.intake = Intake(self.store, self.commits, PeerLimits(), 0.0, Comparison(decoder))

    def take(self, image: Dataset, syntax: str = ExplicitVRLittleEndian, host: str = "127.0.0.1") -> int:
        raw = encoded(image, syntax)
        command = decode_command(command_set(0x0001, CT, str(image.SOPInstanceUID)))
        return self.intake.take(Sender("PACS", host), command, CT, syntax, iter([memoryview(raw)])).code

    def series(self) -> Series:
        with reading(self.ledger) as session:
            return session.query(Series).one()

    def states(self) -> list[InstanceState]:
        with reading(self.ledger) as session:
            return [one.state for one in session.query(Instance).order_by(Instance.id)]


@pytest.fixture
def desk_with(tmp_path: Path, ledger: Engine) -> Iterator[Callable[[Decoder], Desk]]:
    desks: list[Desk] = []

    def make(decoder: Decoder) -> Desk:
        desks.append(Desk(tmp_path, ledger, decoder))
        return desks[-1]

    yield make
    for desk in desks:
        desk.commits.stop()
        desk.intake.comparison.decoder.close()


@pytest.fixture
def image() -> Dataset:
    return series("a", 1)[0]


def coerced(image: Dataset) -> Dataset:
    """As a PACS alters it: another value in a tag that says nothing of patient, place or pixels."""
    other = copy.deepcopy(image)
    other.StudyDescription = "coerced on its way"
    return other


def otherwise(image: Dataset) -> Dataset:
    """The same values in other pixel data: high bits that are unused."""
    other = copy.deepcopy(image)
    values = np.frombuffer(other.PixelData, "<u2")
    other.BitsStored, other.HighBit = 14, 13
    other.PixelData = (values | 0x8000).astype("<u2").tobytes()
    return other


# --- what is compared ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_an_altered_duplicate_of_the_same_pixel_bytes_is_known_without_decoding(
    desk_with: Callable[[Decoder], Desk], image: Dataset, syntax: str
) -> None:
    desk = desk_with(NoDecoder())
    assert desk.take(image) == 0
    for _ in range(3):
        assert desk.take(coerced(image), syntax) == 0
    assert desk.states() == [InstanceState.KEPT]
    assert desk.series().state is SeriesState.OPEN


def test_a_compressed_duplicate_of_the_same_frames_is_known_without_decoding(
    desk_with: Callable[[Decoder], Desk], image: Dataset
) -> None:
    desk = desk_with(NoDecoder())
    compress(image, RLELossless, generate_instance_uid=False)
    assert desk.take(image, RLELossless) == 0
    assert desk.take(coerced(image), RLELossless) == 0
    assert desk.states() == [InstanceState.KEPT]


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, RLELossless])
def test_other_encodings_of_the_same_values_are_duplicates(
    desk_with: Callable[[Decoder], Desk], image: Dataset, decoder: Decoder, syntax: str
) -> None:
    desk = desk_with(decoder)
    assert desk.take(image) == 0
    again = coerced(image)
    if syntax != ExplicitVRBigEndian:
        compress(again, syntax, generate_instance_uid=False)
    assert desk.take(again, syntax) == 0
    assert desk.states() == [InstanceState.KEPT]


def test_the_same_bytes_that_mean_other_values_are_no_duplicate(
    desk_with: Callable[[Decoder], Desk], image: Dataset, decoder: Decoder
) -> None:
    desk = desk_with(decoder)
    assert desk.take(image) == 0
    signed = copy.deepcopy(image)
    signed.PixelRepresentation, signed.BitsStored, signed.HighBit = 1, 11, 10
    assert desk.take(signed) == 0
    assert desk.states() == [InstanceState.KEPT, InstanceState.QUARANTINED]


def test_other_pixels_under_one_uid_hold_the_series(
    desk_with: Callable[[Decoder], Desk], image: Dataset, decoder: Decoder
) -> None:
    desk = desk_with(decoder)
    assert desk.take(image) == 0
    other = copy.deepcopy(image)
    other.PixelData = bytes(reversed(image.PixelData))
    assert desk.take(other) == 0
    assert desk.states() == [InstanceState.KEPT, InstanceState.QUARANTINED]
    held = desk.series()
    assert (held.state, held.releasable) == (SeriesState.HELD, False)


def test_pixels_that_contradict_their_header_are_no_duplicate(
    desk_with: Callable[[Decoder], Desk], image: Dataset, decoder: Decoder
) -> None:
    desk = desk_with(decoder)
    assert desk.take(image) == 0
    broken = copy.deepcopy(image)
    compress(broken, RLELossless, generate_instance_uid=False)
    broken.PixelData = encapsulate([bytes(200)])
    broken["PixelData"].is_undefined_length = True
    assert desk.take(broken, RLELossless) == 0
    assert desk.states() == [InstanceState.KEPT, InstanceState.QUARANTINED]


# --- what proves nothing ---------------------------------------------------------------------------------------------


def program(text: str) -> tuple[str, ...]:
    """A decoding process that does what the test says."""
    return ("/bin/sh", "-c", text)


NO_EVIDENCE = {
    "it cannot start": ("/nowhere/python",),
    "it ends as it starts": program("exit 1"),
    "it takes too long": program("echo ready; cat >/dev/null"),
    "it has too little memory": program("echo ready; read line; echo failed"),
    "it dies of the file": program("echo ready; read line; kill -SEGV $$"),
}


@pytest.mark.parametrize("what", NO_EVIDENCE)
def test_a_decoder_that_gives_no_answer_is_no_evidence_of_a_contradiction(
    desk_with: Callable[[Decoder], Desk], image: Dataset, what: str
) -> None:
    """The sender is told to try again, the series is as it was, and the next try succeeds."""
    desk = desk_with(Decoder(NO_EVIDENCE[what], seconds=0.3))
    assert desk.take(image) == 0
    assert desk.take(otherwise(image)) == 0xA700
    assert desk.states() == [InstanceState.KEPT]
    assert desk.series().state is SeriesState.OPEN
    with reading(desk.ledger) as session:
        assert session.query(Alarm).count() == 0
    assert not list(desk.store.layout.incoming.iterdir())
    desk.intake.comparison.decoder.close()
    desk.intake.comparison = Comparison(Decoder())
    assert desk.take(otherwise(image)) == 0
    assert desk.states() == [InstanceState.KEPT]


def test_a_memory_limit_is_no_evidence(tmp_path: Path, image: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image.dcm"
    image.save_as(path, enforce_file_format=True)
    decode = pixel_digest.decoder()
    assert len(pixel_digest.answer_for(path, decode)) == 64
    monkeypatch.setattr(pixel_digest, "MEMORY_BYTES", 1000)
    assert pixel_digest.answer_for(path, decode) == pixel_digest.FAILED

    def short_of_memory(_path: Path) -> None:
        try:
            raise RuntimeError("sitk::ERROR: std::bad_alloc")
        except RuntimeError as error:
            raise pixel_digest.SeriesError("it cannot be decompressed") from error

    assert pixel_digest.answer_for(path, short_of_memory) == pixel_digest.FAILED


def test_digests_of_failed_comparisons_in_an_older_ledger_are_not_believed(
    desk_with: Callable[[Decoder], Desk], image: Dataset, decoder: Decoder
) -> None:
    desk = desk_with(decoder)
    assert desk.take(image) == 0
    with desk.ledger.begin() as connection:
        connection.exec_driver_sql("update instance set pixel_sha256 = 'undecodable:00'")
    assert desk.take(otherwise(image)) == 0
    assert desk.states() == [InstanceState.KEPT]


# --- what it may cost ------------------------------------------------------------------------------------------------


def test_the_decoding_process_is_kept_warm(desk_with: Callable[[Decoder], Desk], image: Dataset) -> None:
    decoder = Decoder()
    desk = desk_with(decoder)
    assert desk.take(image) == 0
    assert decoder._process is None, "nobody needed it"
    pids = set()
    for _ in range(3):
        assert desk.take(otherwise(image)) == 0
        assert decoder._process is not None
        pids.add(decoder._process.pid)
    assert len(pids) == 1
    threads = list(Path(f"/proc/{pids.pop()}/task").iterdir())
    assert len(threads) == 1, "it does no linear algebra"


def test_a_decoding_process_that_ended_by_itself_is_started_again(tmp_path: Path, image: Dataset) -> None:
    path, decoder = tmp_path / "image.dcm", Decoder()
    image.save_as(path, enforce_file_format=True)
    try:
        first = decoder.digest(path, time.monotonic() + 30)
        assert decoder._process is not None
        decoder._process.kill()
        decoder._process.wait()
        assert decoder.digest(path, time.monotonic() + 30) == first
    finally:
        decoder.close()


def test_a_start_that_takes_long_goes_on_for_whoever_asks_next(tmp_path: Path) -> None:
    decoder = Decoder(program("sleep 0.6; echo ready; while read line; do echo digest; done"))
    try:
        with pytest.raises(Undecided, match="slow"):
            decoder.digest(tmp_path / "x", time.monotonic() + 0.1)
        assert decoder.digest(tmp_path / "x", time.monotonic() + 10) == "digest"
    finally:
        decoder.close()


class Scripted(Decoder):
    """A decoder that answers, breaks or waits as the test says."""

    def __init__(self, act: Callable[[], str]) -> None:
        super().__init__()
        self.act = act

    def digest(self, path: Path, until: float) -> str | None:
        return self.act()


def files(folder: Path, image: Dataset) -> tuple[Path, Path]:
    image.save_as(folder / "kept.dcm", enforce_file_format=True)
    otherwise(image).save_as(folder / "ours.dcm", enforce_file_format=True)
    return folder / "kept.dcm", folder / "ours.dcm"


def test_a_peer_whose_image_took_too_much_has_nothing_decoded_for_a_while(tmp_path: Path, image: Dataset) -> None:
    kept, ours = files(tmp_path, image)
    asked: list[str] = []

    def broken() -> str:
        asked.append("x")
        raise Broken("too much")

    decoder, clock = Scripted(broken), [0.0]
    compared = Comparison(decoder, now=lambda: clock[0])
    with pytest.raises(Broken):
        compared.compare("10.0.0.1", kept, ours)
    decoder.act = lambda: "digest"
    with pytest.raises(Undecided, match="too much was decoded"):
        compared.compare("10.0.0.1", kept, ours)
    assert len(asked) == 1
    assert compared.compare("10.0.0.2", kept, ours).same, "others are not punished"
    assert compared.compare("10.0.0.1", kept, kept).same, "what needs no decoding is compared all the same"
    clock[0] += comparison.PAUSE_SECONDS
    assert compared.compare("10.0.0.1", kept, ours).same


def test_a_peer_has_one_image_decoded_at_a_time(
    tmp_path: Path, image: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "COMPARE_SECONDS", 0.3)
    kept, ours = files(tmp_path, image)
    working, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        working.set()
        assert go_on.wait(20)
        return "digest"

    decoder = Scripted(slow)
    compared = Comparison(decoder)
    first = threading.Thread(target=compared.compare, args=("10.0.0.1", kept, ours))
    first.start()
    assert working.wait(20)
    decoder.act = lambda: "digest"
    with pytest.raises(Undecided, match="other images of this peer"):
        compared.compare("10.0.0.1", kept, ours)
    assert compared.compare("10.0.0.2", kept, ours).same
    go_on.set()
    first.join()
    assert compared.compare("10.0.0.1", kept, ours).same


def test_what_is_remembered_of_peers_is_bounded(
    tmp_path: Path, image: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "MOST_PEERS", 10)
    kept, ours = files(tmp_path, image)
    compared = Comparison(Scripted(lambda: "digest"))
    for number in range(50):
        compared.compare(f"10.0.0.{number}", kept, ours)
    assert len(compared._accounts) <= 11
