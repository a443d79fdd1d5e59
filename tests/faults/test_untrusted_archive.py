"""An archive that is asked or fetched from is trusted no more than a destination: C-FIND, C-MOVE and C-GET."""

import copy
import json
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from rtseg_daemon import cli
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.config.sections import DestinationPeer, QueryPeer
from rtseg_daemon.dicom import association, dimse, query, relay, retrieve
from rtseg_daemon.dicom.association import Local, Message, Waits
from rtseg_daemon.dicom.datasets import encode
from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.query import RemoteSeries, count_images, ct_series, question
from rtseg_daemon.dicom.relay import OwnListener
from rtseg_daemon.dicom.wire import P_DATA_TF, PeerLimits, encode_command, encode_fragment
from rtseg_daemon.errors import DeliveryError
from tests.rude import Asked, Caller, Manner, Rude, answer
from tests.synthetic import slice_dataset
from tests.world import free_port, write_config

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

WAITS = Waits(connect=1.0, associate=0.6, answer=0.6, total=3.0, release=0.3)
LONGEST = 4.5
LOCAL = Local("RTSEG")
IMAGES = [slice_dataset(Volume(np.zeros((4, 8, 8), np.int16), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0)), k, "HFS", 1)
          for k in range(4)]  # fmt: skip
SERIES = RemoteSeries(str(IMAGES[0].StudyInstanceUID), str(IMAGES[0].SeriesInstanceUID), "", None)
"""What is asked for."""

taken: list[Message] = []


@pytest.fixture(autouse=True)
def nothing_taken() -> None:
    taken.clear()


def take(message: Message) -> Status:
    taken.append(message)
    return Status(dimse.SUCCESS)


def pacs(port: int) -> QueryPeer:
    return QueryPeer(name="pacs", ae_title="PACS", host="127.0.0.1", port=port)


ASKING: dict[str, Callable[[int], Any]] = {
    "C-FIND": lambda port: count_images(LOCAL, pacs(port), SERIES.study_uid, SERIES.series_uid, WAITS),
    "C-MOVE": lambda port: retrieve.move(LOCAL, pacs(port), SERIES, "RTSEG", WAITS),
    "C-GET": lambda port: retrieve.get(LOCAL, pacs(port), SERIES, take, WAITS),
}
each_service = pytest.mark.parametrize("service", ASKING)


def ask(service: str, meet: Manner, greet: Callable[[Caller], None] | None = None) -> Any:
    """Ask a rude archive, in no more than the time allowed."""
    with Rude(meet).running() as rude:
        if greet is not None:
            rude.greet = greet
        began = time.monotonic()
        try:
            return ASKING[service](rude.port)
        finally:
            assert time.monotonic() - began < LONGEST


def pending(asked: Asked, **changes: Any) -> bytes:
    """One interim answer, with an identifier where it answers a C-FIND."""
    if asked.command.field != dimse.C_FIND_RQ:
        return answer(asked, 0xFF00, **changes)
    found = question("SERIES", SeriesInstanceUID=SERIES.series_uid, NumberOfSeriesRelatedInstances="4")
    return answer(asked, 0xFF00, DATA_SET_TYPE=dimse.short(0), **changes) + identifier(asked, found)


def identifier(asked: Asked, dataset: Dataset) -> bytes:
    data = encode(dataset, ExplicitVRLittleEndian)
    return encode_fragment(asked.context, data, is_command=False, is_last=True)


# --- silence, trickle, no end -----------------------------------------------------------------------------------------


@each_service
def test_silence_in_mid_pdu_between_interim_answers_ends_in_time(service: str) -> None:
    def silent(caller: Caller, asked: Asked) -> None:
        caller.say(pending(asked) * 2 + pending(asked)[:30])
        caller.wait_for_the_end()

    with pytest.raises(DeliveryError, match="no answer in the time allowed"):
        ask(service, silent)


@each_service
def test_a_trickle_between_interim_answers_ends_in_time(service: str) -> None:
    def trickle(caller: Caller, asked: Asked) -> None:
        caller.say(pending(asked) * 2)
        caller.trickle(pending(asked), 0.1)

    with pytest.raises(DeliveryError, match="no answer in the time allowed"):
        ask(service, trickle)


@each_service
def test_interim_answers_each_just_in_time_do_not_outlast_the_total(service: str) -> None:
    def late(caller: Caller, asked: Asked) -> None:
        while True:
            caller.say(pending(asked))
            time.sleep(0.3)

    with pytest.raises(DeliveryError, match="in the time allowed"):
        ask(service, late)


@each_service
def test_interim_answers_without_end_are_cut_off(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MOST_ANSWERS", 300)
    monkeypatch.setattr(retrieve, "MOST_PENDING", 300)

    def endless(caller: Caller, asked: Asked) -> None:
        while True:
            caller.say(pending(asked) * 50)

    with pytest.raises(DeliveryError, match="cut off after 300"):
        ask(service, endless)


def test_large_answers_without_end_are_cut_off_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is as large as one may be; ten thousand of them would be 10 GB."""
    monkeypatch.setattr(query, "MOST_BYTES", 8 * 2**20)
    large = question("SERIES", SeriesDescription="x", SeriesInstanceUID=SERIES.series_uid)
    large.add_new(0x00091001, "OB", bytes(900_000))

    def endless(caller: Caller, asked: Asked) -> None:
        data = encode(large, ExplicitVRLittleEndian)
        pieces = [data[at : at + 65536] for at in range(0, len(data), 65536)]
        while True:
            caller.say(answer(asked, 0xFF00, DATA_SET_TYPE=dimse.short(0)))
            for number, piece in enumerate(pieces, 1):
                last = number == len(pieces)
                caller.say(encode_fragment(asked.context, piece, is_command=False, is_last=last))

    with pytest.raises(DeliveryError, match=r"cut off after \d answers"):
        ask("C-FIND", endless)


# --- answers that are not the answer ----------------------------------------------------------------------------------


@each_service
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"RESPONDED_TO": dimse.short(7)}, "message 7 was answered, and 1 was asked"),
        ({"context": 99}, "a presentation context that was not accepted"),
        ({"FIELD": dimse.short(0x8030)}, "message 0x8030 came where"),
        ({"FIELD": dimse.short(0x0130)}, "message 0x0130 is not served here"),
        ({"AFFECTED_CLASS": b"1.2.840.10008.1.1"}, "is about class '1.2.840.10008.1.1'"),
    ],
    ids=["id", "context", "command", "request", "class"],
)
def test_an_interim_answer_to_something_else_ends_the_question(service: str, wrong: dict[str, Any], words: str) -> None:
    def meet(caller: Caller, asked: Asked) -> None:
        caller.say(pending(asked) + pending(asked, **wrong) + answer(asked))

    with pytest.raises(DeliveryError, match=words):
        ask(service, meet)


def test_an_answer_to_a_c_get_on_the_context_of_its_images_is_none() -> None:
    with pytest.raises(DeliveryError, match="another presentation context"):
        ask("C-GET", lambda caller, asked: caller.say(answer(asked, context=asked.context + 2)))


@pytest.mark.parametrize("service", ["C-FIND", "C-MOVE"])
def test_an_image_is_not_taken_where_none_may_be_sent(service: str) -> None:
    with pytest.raises(DeliveryError, match="message 0x0001 is not served here"):
        ask(service, lambda caller, asked: caller.say(storing(IMAGES[0], asked.context)))


# --- what is found ----------------------------------------------------------------------------------------------------


def listed(*answers: Dataset) -> Manner:
    def meet(caller: Caller, asked: Asked) -> None:
        for one in answers:
            caller.say(answer(asked, 0xFF00, DATA_SET_TYPE=dimse.short(0)) + identifier(asked, one))
        caller.say(answer(asked))

    return meet


def test_the_count_of_another_series_is_not_taken_for_the_one_that_was_asked_about() -> None:
    other = question("SERIES", SeriesInstanceUID="1.2.9", NumberOfSeriesRelatedInstances="77")
    ours = question("SERIES", SeriesInstanceUID=SERIES.series_uid, NumberOfSeriesRelatedInstances="4")
    assert ask("C-FIND", listed(other, ours)) == 4
    assert ask("C-FIND", listed(other)) is None


def test_an_image_listed_twice_is_counted_once_and_one_of_another_series_never() -> None:
    mine = {"SeriesInstanceUID": SERIES.series_uid}
    images = [question("IMAGE", SOPInstanceUID=number, **mine) for number in ("1.1", "1.2", "1.2")]
    assert ask("C-FIND", listed(*images, question("IMAGE", SOPInstanceUID="1.3", SeriesInstanceUID="1.2.9"))) == 2


@pytest.mark.parametrize("number", ["-5", "9999999999"])
def test_a_count_that_cannot_be_is_none_and_the_images_are_counted(number: str) -> None:
    one = question("SERIES", SeriesInstanceUID=SERIES.series_uid, SOPInstanceUID="1.1")
    one.NumberOfSeriesRelatedInstances = number
    assert ask("C-FIND", listed(one)) == 1


def test_an_answer_without_an_identifier_is_an_error_and_no_image_more() -> None:
    with pytest.raises(DeliveryError, match="has no identifier"):
        ask("C-FIND", lambda caller, asked: caller.say(answer(asked, 0xFF00) + answer(asked)))


def test_an_image_listed_without_its_uid_is_an_error() -> None:
    with pytest.raises(DeliveryError, match="without SOPInstanceUID"):
        ask("C-FIND", listed(question("IMAGE", SeriesInstanceUID=SERIES.series_uid)))


# --- images that come by C-GET ----------------------------------------------------------------------------------------


def storing(image: Dataset, context: int, number: int = 1, **changes: bytes) -> bytes:
    """A C-STORE sub-operation."""
    values = {
        dimse.AFFECTED_CLASS: CTImageStorage.encode(),
        dimse.AFFECTED_INSTANCE: str(image.SOPInstanceUID).encode(),
        dimse.PRIORITY: dimse.short(0),
    } | {getattr(dimse, name): value for name, value in changes.items()}
    command = dimse.request(dimse.C_STORE_RQ, number, values, has_data=True)
    data = encode(image, ExplicitVRLittleEndian)
    said = encode_command(context, dimse.encode_command_set(command.values))
    return said + encode_fragment(context, data, is_command=False, is_last=True)


def changed(image: Dataset, **values: str) -> Dataset:
    other = copy.deepcopy(image)
    for keyword, value in values.items():
        setattr(other, keyword, value)
    return other


statuses: list[int] = []


def sending(*images: Dataset, on_get_context: bool = False, **changes: bytes) -> Manner:
    """Send these images in answer to a C-GET and call it a success; their statuses are noted."""

    def meet(caller: Caller, asked: Asked) -> None:
        statuses.clear()
        for number, image in enumerate(images, 1):
            # the context after that of C-GET is CT images in explicit little endian
            caller.say(storing(image, asked.context + (0 if on_get_context else 2), number, **changes))
            replied = caller.request()
            assert replied is not None
            statuses.append(replied.command.number(dimse.STATUS))
        caller.say(answer(asked))

    return meet


def test_images_that_were_asked_for_are_taken_and_counted_by_ourselves() -> None:
    found = ask("C-GET", sending(*IMAGES))
    assert (found.completed, found.failed, found.ok, len(taken)) == (4, 0, True, 4)


@pytest.mark.parametrize("other", [{"SeriesInstanceUID": "1.2.9"}, {"StudyInstanceUID": "1.2.9"}])
def test_an_object_that_was_never_asked_for_is_refused_and_counted_as_failed(other: dict[str, str]) -> None:
    found = ask("C-GET", sending(IMAGES[0], changed(IMAGES[1], **other), IMAGES[2]))
    assert statuses == [0x0000, 0x0124, 0x0000]
    assert (found.completed, found.failed, found.ok) == (2, 1, False)
    assert [one.command.text(dimse.AFFECTED_INSTANCE) for one in taken] == [
        str(IMAGES[0].SOPInstanceUID), str(IMAGES[2].SOPInstanceUID)]  # fmt: skip


def test_an_object_of_another_class_than_its_context_is_refused() -> None:
    found = ask("C-GET", sending(IMAGES[0], AFFECTED_CLASS=b"1.2.840.10008.5.1.4.1.1.4"))
    assert (statuses, found.ok, taken) == ([0x0122], False, [])


def test_an_object_on_the_context_of_the_question_is_refused() -> None:
    found = ask("C-GET", sending(IMAGES[0], on_get_context=True))
    assert (statuses, found.ok, taken) == ([0x0122], False, [])


def test_an_object_that_cannot_be_read_is_refused() -> None:
    def meet(caller: Caller, asked: Asked) -> None:
        whole = storing(IMAGES[0], asked.context + 2)
        head = 6 + struct.unpack(">I", whole[2:6])[0]
        caller.say(whole[:head])
        caller.say(encode_fragment(asked.context + 2, b"\x08\0\x18\0UI\xff\xff1.2", is_command=False, is_last=True))
        replied = caller.request()
        assert replied is not None
        statuses[:] = [replied.command.number(dimse.STATUS)]
        caller.say(answer(asked))

    found = ask("C-GET", meet)
    assert (statuses, found.ok, taken) == ([0xC000], False, [])


def test_a_success_without_an_image_is_no_success() -> None:
    with pytest.raises(DeliveryError, match="C-GET succeeded, and no image came"):
        ask("C-GET", lambda caller, asked: caller.say(answer(asked, COMPLETED=dimse.short(20))))


def test_images_without_end_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieve, "MOST_IMAGES", 20)
    with pytest.raises(DeliveryError, match="cut off after 20 images"):
        ask("C-GET", sending(*IMAGES * 10))
    assert len(taken) == 20


def grown_mb(before: int) -> float:
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


@pytest.mark.parametrize("announced", [True, False], ids=["in one PDU", "in pieces"])
def test_an_image_of_500_mb_is_cut_off(announced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    small = PeerLimits(object_bytes=16 * 2**20)
    monkeypatch.setattr(association, "PeerLimits", lambda: small)

    def flood(caller: Caller, asked: Asked) -> None:
        whole = storing(IMAGES[0], asked.context + 2)
        caller.say(whole[: 6 + struct.unpack(">I", whole[2:6])[0]])
        if announced:
            caller.say(struct.pack(">BBI", P_DATA_TF, 0, 500_000_000))
        while True:
            more = bytes(65536)
            caller.say(more if announced else encode_fragment(asked.context + 2, more, is_command=False, is_last=False))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words = "500000000 bytes was announced" if announced else f"a data set larger than {small.object_bytes} bytes"
    with pytest.raises(DeliveryError, match=words):
        ask("C-GET", flood)
    assert (grown_mb(before) < 60, taken) == (True, [])


@each_service
@pytest.mark.parametrize("maximum", [6, 1])
def test_a_maximum_length_of_6_is_refused_by_name(service: str, maximum: int) -> None:
    with pytest.raises(DeliveryError, match=f"maximum PDU length of {maximum} bytes is too small"):
        ask(service, lambda *_: None, lambda caller: caller.say(caller.accepting(maximum)))


# --- the command, and our own listener --------------------------------------------------------------------------------


def test_our_listener_is_called_anew_after_a_pause_and_after_it_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive may take minutes before the next image, and the listener ends associations that are idle."""
    with Rude().running() as ours:
        listener = OwnListener(LOCAL, DestinationPeer(name="this daemon", ae_title="RTSEG", host="127.0.0.1",
                                                      port=ours.port))  # fmt: skip
        with Rude(sending(*IMAGES[:2])).running() as rude:
            retrieve.get(LOCAL, pacs(rude.port), SERIES, listener.take, WAITS)
            assert ours.calls == 1
            monkeypatch.setattr(relay, "REST_SECONDS", -1.0)
            retrieve.get(LOCAL, pacs(rude.port), SERIES, listener.take, WAITS)
            assert ours.calls == 3
            monkeypatch.setattr(relay, "REST_SECONDS", 20.0)
            assert listener.association is not None
            listener.association.line.cut()
            found = retrieve.get(LOCAL, pacs(rude.port), SERIES, listener.take, WAITS)
        assert (found.completed, found.failed) == (1, 1), "the image on the dead connection alone"
        assert ours.calls == 4
        listener.close()


def test_fetch_tells_of_one_series_that_breaks_and_goes_on_with_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def meet(caller: Caller, asked: Asked) -> None:
        if asked.command.field == dimse.C_FIND_RQ:
            both = [question("SERIES", SeriesInstanceUID=one, Modality="CT") for one in ("1.2.1", "1.2.2")]
            return listed(*both)(caller, asked)
        if b"1.2.1" in asked.data:
            return caller.say(answer(asked, RESPONDED_TO=dimse.short(9)))
        return caller.say(answer(asked, COMPLETED=dimse.short(3)))

    with Rude(meet).running() as rude:
        peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": rude.port}
        file = write_config(tmp_path, free_port(), query=[peer])
        command = ["rtseg-daemon", "fetch", "--study", "1.2", "--config", str(file), "--json"]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    broken, fetched = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1
    assert (broken["ok"], "message 9 was answered" in broken["reason"]) == (False, True)
    assert (fetched["ok"], fetched["completed"]) == (True, 3)


def test_a_list_of_series_that_breaks_off_is_an_error_and_no_shorter_list() -> None:
    def meet(caller: Caller, asked: Asked) -> None:
        found = question("SERIES", SeriesInstanceUID="1.2.1", Modality="CT")
        caller.say(answer(asked, 0xFF00, DATA_SET_TYPE=dimse.short(0)) + identifier(asked, found))
        raise ConnectionError("enough")

    with Rude(meet).running() as rude, pytest.raises(DeliveryError, match="closed the connection"):
        ct_series(LOCAL, pacs(rude.port), study_uid="1.2", waits=WAITS)
