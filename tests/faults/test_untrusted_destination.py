"""A destination is trusted no more than a sender: it may fall silent, trickle, lie about lengths and answer wrongly.

Every attack goes on beside an honest destination, which must have its structure set all the same.
"""

import resource
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.file import load_config
from rtseg_daemon.config.sections import DestinationPeer, QueryPeer
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import Data, Local, Waits, associated, echo
from rtseg_daemon.dicom.proposal import Offer
from rtseg_daemon.dicom.query import count_images
from rtseg_daemon.dicom.wire import P_DATA_TF, encode_command, encode_fragment
from rtseg_daemon.errors import ContextRefused, DeliveryError
from tests.deliveries import World
from tests.rude import Asked, Caller, Rude, answer, flood, half_an_answer, half_an_association, on_store, polite
from tests.synthetic import uid
from tests.world import Tps, patient, write_config

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

WAITS = Waits(connect=1.0, associate=0.6, answer=0.6, total=4.0, release=0.4, bytes_per_second=2**20)
LONGEST_ATTEMPT = 4.0
"""Connecting, associating, answering and last words, with what a busy machine adds."""

RTSTRUCT, PLAIN = "1.2.840.10008.5.1.4.1.1.481.3", ("1.2.840.10008.1.2",)


def destination(port: int, name: str = "rude", **more: Any) -> dict[str, Any]:
    return {"name": name, "ae_title": name.upper(), "host": "127.0.0.1", "port": port} | more


class Ward:
    """A rude destination, an honest one, and a job for both."""

    def __init__(self, ledger: Engine, folder: Path, rude: Rude, **more: Any) -> None:
        self.rude, self.tps, self.folder = rude, Tps(), folder
        self.world = World(ledger, folder, self.tps)
        both = [destination(rude.port, **more), destination(self.tps.port, "tps")]
        self.world.config = load_config(write_config(folder, self.tps.port, destinations=both))

    def delivery(self, name: str = "rude") -> dict[str, Any]:
        return next(one for one in self.world.shape(1)["deliveries"] if one["destination"] == name)

    def suffer(self, until: Callable[[], bool], files: list[Path] | None = None, seconds: float = 15.0) -> None:
        """The job is made, and both couriers work until the honest destination has it and `until` holds."""
        self.world.job(1, ("rude", "tps"), files)
        with self.tps.running(), self.world.couriers(WAITS):
            self.world.until(lambda: self.delivery("tps")["state"] == "SENT", seconds)
            self.world.until(until, seconds)

    def was_put_off(self, attempts: int = 1) -> bool:
        return bool(self.delivery()["attempts"] >= attempts and self.delivery()["state"] == "WAITING")


@pytest.fixture
def ward(ledger: Engine, tmp_path: Path) -> Iterator[Callable[..., Ward]]:
    with Rude().running() as rude:

        def make(**more: Any) -> Ward:
            manners = {name: more.pop(name) for name in ("meet", "greet", "part") if name in more}
            for name, manner in manners.items():
                setattr(rude, name, manner)
            return Ward(ledger, tmp_path, rude, **more)

        yield make


# --- silence and trickle ----------------------------------------------------------------------------------------------


def test_half_a_pdu_during_a_associate_costs_one_attempt_and_it_is_tried_again(ward: Callable[..., Ward]) -> None:
    here = ward(greet=half_an_association)
    here.suffer(lambda: here.was_put_off(2))
    assert "no answer in the time allowed" in here.delivery()["last_comment"]


def test_half_a_pdu_during_c_store_costs_one_attempt_and_it_is_tried_again(ward: Callable[..., Ward]) -> None:
    here = ward(meet=on_store(half_an_answer))
    here.suffer(lambda: here.was_put_off(2))
    assert "no answer in the time allowed" in here.delivery()["last_comment"]


def test_half_a_pdu_during_c_echo_ends_the_probe_in_time(ward: Callable[..., Ward]) -> None:
    here = ward(meet=half_an_answer)
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="no answer in the time allowed"):
        echo(Local("RTSEG"), DestinationPeer(**destination(here.rude.port)), WAITS)
    assert time.monotonic() - began < LONGEST_ATTEMPT


def test_a_destination_that_mends_its_manners_has_everything_without_a_restart(ward: Callable[..., Ward]) -> None:
    here = ward(greet=half_an_association)

    def mended() -> bool:
        if here.was_put_off():
            here.rude.greet = lambda caller: caller.say(caller.accepting())
        return bool(here.delivery()["state"] == "SENT")

    here.suffer(mended)
    assert [one.command.field for one in here.rude.asked if one.data] == [dimse.C_STORE_RQ]


def stop_reading(caller: Caller, ended: threading.Event) -> None:
    caller.say(caller.accepting())
    ended.wait(20)


def test_a_peer_that_stops_reading_in_mid_object_is_left_in_time(ward: Callable[..., Ward]) -> None:
    ended = threading.Event()
    here = ward(greet=lambda caller: stop_reading(caller, ended))
    began = time.monotonic()
    try:
        with pytest.raises(DeliveryError, match="not taken in the time allowed"):
            store(here.rude.port, bytes(64 * 2**20), Waits(answer=0.6, total=60.0, bytes_per_second=2**20))
    finally:
        ended.set()
    assert time.monotonic() - began < LONGEST_ATTEMPT


def store(port: int, content: bytes, waits: Waits = WAITS, times: int = 1) -> list[int]:
    """Store `content` as an object, so often on one association."""
    with associated(
        Local("RTSEG"), DestinationPeer(**destination(port)), [Offer(RTSTRUCT, PLAIN)], waits
    ) as association:
        context = association.context(RTSTRUCT)
        return [association.store(context, f"1.2.{number}", Data.of(content)).code for number in range(times)]


def test_a_peer_that_reads_a_little_now_and_then_is_left_at_the_lowest_rate(ward: Callable[..., Ward]) -> None:
    """It never stalls for long; that it takes less than the least rate is what ends it."""
    ended = threading.Event()

    def sip(caller: Caller) -> None:
        caller.say(caller.accepting())
        while not ended.wait(0.1) and caller.socket.recv(2**17):
            pass
        raise ConnectionError("enough")

    here = ward(greet=sip)
    began = time.monotonic()
    try:
        with pytest.raises(DeliveryError, match="not taken in the time allowed"):
            store(here.rude.port, bytes(64 * 2**20), Waits(answer=0.6, total=1.0, bytes_per_second=64 * 2**20))
    finally:
        ended.set()
    assert time.monotonic() - began < LONGEST_ATTEMPT


def test_a_slow_but_honest_peer_is_not_cut_off(ward: Callable[..., Ward]) -> None:
    """Sending takes several times as long as an answer may; the least rate allows for it."""
    content = bytes(24 * 2**20)

    def slowly(caller: Caller) -> None:
        caller.socket.setsockopt(1, 8, 65536)  # SO_RCVBUF
        caller.say(caller.accepting())
        time.sleep(0.3)

    def answer_slowly(caller: Caller, asked: Asked) -> None:
        time.sleep(0.3)
        polite(caller, asked)

    here = ward(greet=slowly, meet=answer_slowly)
    pdu, taken = Caller.pdu, [0]

    def pdu_slowly(self: Caller) -> tuple[int, bytes]:
        taken[0] += 1
        if taken[0] % 100 == 0:
            time.sleep(0.2)
        return pdu(self)

    Caller.pdu = pdu_slowly  # type: ignore[method-assign]
    began = time.monotonic()
    try:
        assert store(here.rude.port, content, Waits(answer=2.0, total=20.0, bytes_per_second=2**18)) == [0]
    finally:
        Caller.pdu = pdu  # type: ignore[method-assign]
    assert time.monotonic() - began > 2.0, "no longer than an answer may take: nothing was shown"
    assert here.rude.asked[0].data == content


def test_a_trickle_of_single_bytes_is_ended_by_the_deadline_for_the_answer(ward: Callable[..., Ward]) -> None:
    def trickle(caller: Caller, asked: Asked) -> None:
        caller.trickle(answer(asked), 0.1)

    here = ward(meet=on_store(trickle))
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="no answer in the time allowed"):
        store(here.rude.port, b"1234")
    assert time.monotonic() - began < LONGEST_ATTEMPT
    here.suffer(here.was_put_off)


def test_an_association_request_answered_in_a_trickle_is_ended(ward: Callable[..., Ward]) -> None:
    here = ward(greet=lambda caller: caller.trickle(caller.accepting(), 0.1))
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="no association"):
        echo(Local("RTSEG"), DestinationPeer(**destination(here.rude.port)), WAITS)
    assert time.monotonic() - began < LONGEST_ATTEMPT


def test_answers_each_just_in_time_do_not_outlast_the_total(ward: Callable[..., Ward]) -> None:
    def late(caller: Caller, asked: Asked) -> None:
        time.sleep(0.3)
        polite(caller, asked)

    here = ward(meet=late)
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="in the time allowed"):
        store(here.rude.port, b"1234", Waits(answer=0.6, total=1.5), times=100)
    assert time.monotonic() - began < LONGEST_ATTEMPT


def test_a_release_that_is_never_answered_makes_no_failure_of_a_delivery(ward: Callable[..., Ward]) -> None:
    here = ward(part=lambda caller: caller.wait_for_the_end())
    here.suffer(lambda: here.delivery()["state"] == "SENT")
    assert here.delivery()["attempts"] == 1


def test_a_release_answered_with_endless_data_is_ended(ward: Callable[..., Ward]) -> None:
    def endless(caller: Caller) -> None:
        while True:
            caller.say(encode_command(1, bytes(1000)))

    here = ward(part=endless)
    began = time.monotonic()
    assert store(here.rude.port, b"1234") == [0]
    assert time.monotonic() - began < LONGEST_ATTEMPT


# --- answers that are not the answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"RESPONDED_TO": dimse.short(7)}, "message 7 was answered, and 1 was asked"),
        ({"context": 3}, "another presentation context"),
        ({"context": 99}, "a presentation context that was not accepted"),
        ({"FIELD": dimse.short(0x8030)}, "message 0x8030 came where 0x8001 is the answer"),
        ({"FIELD": dimse.short(0x0001)}, "message 0x0001 is not served here"),
        ({"AFFECTED_INSTANCE": b"1.2.3.4"}, "is about object '1.2.3.4'"),
        ({"AFFECTED_CLASS": b"1.2.840.10008.1.1"}, "is about class '1.2.840.10008.1.1'"),
        ({"DATA_SET_TYPE": dimse.short(0)}, "has a data set, which this kind never has"),
        ({"STATUS": b""}, "(0000,0900) is missing or malformed"),
    ],
    ids=["id", "context", "unknown context", "echo response", "request", "instance", "class", "data set", "no status"],
)
def test_a_wrong_answer_to_a_c_store_is_no_answer_and_is_tried_again(
    ward: Callable[..., Ward], wrong: dict[str, Any], words: str
) -> None:
    here = ward(meet=on_store(lambda caller, asked: caller.say(answer(asked, **wrong))))
    here.suffer(here.was_put_off)
    assert words in here.delivery()["last_comment"]
    assert here.delivery()["last_status"] is None


def test_one_surplus_answer_does_not_make_a_refused_structure_set_sent(
    ward: Callable[..., Ward], tmp_path: Path
) -> None:
    """The first image is answered twice; the structure set is refused, and the answer before its own says success."""

    def surplus(caller: Caller, asked: Asked) -> None:
        if asked.command.text(dimse.AFFECTED_CLASS) == RTSTRUCT:
            caller.say(answer(asked, 0xA700))
        else:
            caller.say(answer(asked) * 2)

    here = ward(meet=on_store(surplus), send_images=True)
    files = [path.absolute() for path in patient(here.world.layout.series / "aa", slices=1)]
    here.suffer(lambda: here.was_put_off(2), files)
    assert here.delivery()["last_status"] == "0xA700"
    assert here.world.shape(1)["state"] == "DELIVERING"


def test_one_surplus_answer_on_the_same_context_is_not_the_answer_to_the_next_object(ward: Callable[..., Ward]) -> None:
    def surplus(caller: Caller, asked: Asked) -> None:
        is_first = asked.command.text(dimse.AFFECTED_INSTANCE) == "1.2.0"
        caller.say(answer(asked) * 2 if is_first else answer(asked, 0xA700))

    here = ward(meet=surplus)
    with pytest.raises(DeliveryError, match="message 1 was answered, and 2 was asked"):
        store(here.rude.port, b"1234", times=2)


def test_every_request_has_an_id_of_its_own(ward: Callable[..., Ward]) -> None:
    here = ward()
    assert store(here.rude.port, b"1234", times=4) == [0, 0, 0, 0]
    assert [one.command.number(dimse.MESSAGE_ID) for one in here.rude.asked] == [1, 2, 3, 4]


def test_a_context_accepted_in_a_form_that_was_not_offered_is_no_association(ward: Callable[..., Ward]) -> None:
    deflated = b"1.2.840.10008.1.2.1.99"
    here = ward(greet=lambda caller: caller.say(changed(caller.accepting(), deflated)))
    with pytest.raises(DeliveryError, match="as it was not offered"):
        echo(Local("RTSEG"), DestinationPeer(**destination(here.rude.port)), WAITS)


def changed(accepting: bytes, syntax: bytes) -> bytes:
    """An A-ASSOCIATE-AC whose one context has another transfer syntax, lengths mended."""
    at = accepting.index(b"\x40\x00\x00")
    length = struct.unpack_from(">H", accepting, at + 2)[0]
    more = len(syntax) - length
    whole = accepting[: at + 2] + struct.pack(">H", len(syntax)) + syntax + accepting[at + 4 + length :]
    result = at - 8
    item = struct.unpack_from(">H", whole, result + 2)[0]
    whole = whole[: result + 2] + struct.pack(">H", item + more) + whole[result + 4 :]
    return whole[:2] + struct.pack(">I", len(whole) - 6) + whole[6:]


def test_a_form_that_is_not_accepted_is_refused_by_name(ward: Callable[..., Ward]) -> None:
    here = ward()
    with (
        pytest.raises(ContextRefused, match="rude: Verification"),
        associated(Local("R"), DestinationPeer(**destination(here.rude.port)), [Offer(RTSTRUCT, PLAIN)], WAITS) as one,
    ):
        one.echo()


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["association", "answer"])
def test_an_announced_pdu_of_500_mb_is_refused_before_it_is_read(ward: Callable[..., Ward], phase: str) -> None:
    here = ward(meet=lambda caller, _asked: flood(caller, P_DATA_TF))
    if phase == "association":
        here.rude.greet = lambda caller: flood(caller, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DeliveryError, match="500000000 bytes was announced"):
        echo(Local("RTSEG"), DestinationPeer(**destination(here.rude.port)), WAITS)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 50


def test_a_data_set_without_end_in_an_answer_is_cut_off(ward: Callable[..., Ward]) -> None:
    def endless(caller: Caller, asked: Asked) -> None:
        caller.say(answer(asked, 0xFF00, DATA_SET_TYPE=dimse.short(0)))
        while True:
            caller.say(encode_fragment(asked.context, bytes(16384), is_command=False, is_last=False))

    here = ward(meet=endless)
    peer = QueryPeer(**destination(here.rude.port))
    with pytest.raises(DeliveryError, match="a data set larger than 1048576 bytes"):
        count_images(Local("RTSEG"), peer, "1.2", "1.3", WAITS)


@pytest.mark.parametrize("maximum", [6, 1, 1023])
def test_a_maximum_length_too_small_to_be_used_is_refused_by_name(ward: Callable[..., Ward], maximum: int) -> None:
    here = ward(greet=lambda caller: caller.say(caller.accepting(maximum)))
    here.suffer(here.was_put_off)
    assert f"maximum PDU length of {maximum} bytes is too small" in here.delivery()["last_comment"]


@pytest.mark.parametrize(("maximum", "largest"), [(0, 131072), (2**32 - 1, 131072), (16384, 16384), (1025, 1024)])
def test_an_object_is_sent_in_pieces_of_the_length_that_the_peer_takes(
    ward: Callable[..., Ward], maximum: int, largest: int
) -> None:
    """0 is without limit (PS3.8, D.1), where our own bound counts."""
    here = ward(greet=lambda caller: caller.say(caller.accepting(maximum)))
    content = bytes(range(256)) * 2000
    assert store(here.rude.port, content) == [0]
    assert here.rude.asked[0].data == content
    assert here.rude.largest_body == largest


# --- the other services -----------------------------------------------------------------------------------------------


def test_a_commitment_request_that_is_never_answered_keeps_the_delivery(ward: Callable[..., Ward]) -> None:
    def silent(caller: Caller, asked: Asked) -> None:
        if asked.command.field == dimse.N_ACTION_RQ:
            caller.say(answer(asked)[:9])
            caller.wait_for_the_end()
        polite(caller, asked)

    here = ward(meet=silent, commitment=True)
    here.suffer(lambda: here.delivery()["state"] == "SENT" and dimse.N_ACTION_RQ in fields(here.rude))
    assert here.delivery()["attempts"] == 1


def fields(rude: Rude) -> list[int]:
    return [one.command.field for one in rude.asked]


@pytest.mark.parametrize("when", ["before the answer", "after the answer"])
def test_a_report_is_taken_before_and_after_the_answer_to_its_request(ward: Callable[..., Ward], when: str) -> None:
    def report(caller: Caller, asked: Asked) -> None:
        if asked.command.field != dimse.N_ACTION_RQ:
            return polite(caller, asked)
        values = {
            dimse.AFFECTED_CLASS: asked.command.values[dimse.REQUESTED_CLASS],
            dimse.AFFECTED_INSTANCE: asked.command.values[dimse.REQUESTED_INSTANCE],
            dimse.EVENT_TYPE: dimse.short(1),
        }
        event = dimse.request(dimse.N_EVENT_REPORT_RQ, 1, values, has_data=True)
        reporting = encode_command(asked.context, dimse.encode_command_set(event.values))
        reporting += encode_fragment(asked.context, asked.data, is_command=False, is_last=True)
        return caller.say(reporting + answer(asked) if when == "before the answer" else answer(asked) + reporting)

    here = ward(meet=report, commitment=True)
    here.suffer(lambda: here.delivery()["state"] == "COMMITTED")


@pytest.mark.parametrize("wrong", [{"RESPONDED_TO": dimse.short(9)}, {"FIELD": dimse.short(0x8001)}])
def test_an_answer_to_another_question_is_never_a_count(ward: Callable[..., Ward], wrong: dict[str, bytes]) -> None:
    here = ward(meet=lambda caller, asked: caller.say(answer(asked, **wrong)))
    with pytest.raises(DeliveryError, match=r"was asked|is the answer"):
        count_images(Local("RTSEG"), QueryPeer(**destination(here.rude.port)), "1.2", "1.3", WAITS)


def test_a_query_answered_by_half_a_pdu_ends_in_time(ward: Callable[..., Ward]) -> None:
    here = ward(meet=half_an_answer)
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="no answer in the time allowed"):
        count_images(Local("RTSEG"), QueryPeer(**destination(here.rude.port)), "1.2", "1.3", WAITS)
    assert time.monotonic() - began < LONGEST_ATTEMPT


def test_the_honest_destination_has_its_structure_set_once(ward: Callable[..., Ward]) -> None:
    here = ward(greet=half_an_association)
    here.suffer(lambda: here.was_put_off(3))
    assert [one.SOPInstanceUID for one in here.tps.structure_sets] == [uid("rtstruct", 1)]
