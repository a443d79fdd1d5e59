"""Each threat against the running receiver, bounded in time and count, with the figure asserted."""

import contextlib
import socket
import struct
import threading
import time
from collections import deque

import pytest
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from tests.receiver import (
    ECHO_PDUS,
    Peer,
    Receiver,
    command_set,
    echo_seconds,
    encoded,
    pdata,
    request_pdu,
    store_pdus,
)
from tests.security.conftest import Start, ct_image
from tests.world import wait_for

ECHO_LIMIT_SECONDS = 1.0
MEMORY_LIMIT_MB = 200.0


def test_a_flood_from_unknown_titles_is_rejected_and_shuts_nobody_out(start: Start) -> None:
    with start(dicom={"allowed_callers": [{"ae_title": "HONEST", "host": "127.0.0.1"}]}) as receiver:
        for number in range(150):
            with Peer(receiver.port) as peer:
                assert peer.associate(calling=f"BAD{number}") == 3
        assert echo_seconds(receiver.port) < ECHO_LIMIT_SECONDS


def test_a_rejected_caller_cannot_store_all_the_same(start: Start, image: Dataset) -> None:
    with start(dicom={"allowed_callers": [{"ae_title": "HONEST", "host": "127.0.0.1"}]}) as receiver:
        with Peer(receiver.port) as peer:
            peer.say(request_pdu(calling="BAD") + store_pdus(str(image.SOPInstanceUID), encoded(image)))
            assert peer.pdu()[0] == 3
            assert peer.status() is None
        assert receiver.rows("select count(*) from instance") == [(0,)]


def test_an_allowed_title_from_another_address_is_rejected(start: Start) -> None:
    callers = [{"ae_title": "HONEST", "host": "192.0.2.7"}]
    with start(dicom={"allowed_callers": callers}) as receiver, Peer(receiver.port) as peer:
        assert peer.associate() == 3


def test_another_called_title_is_rejected(receiver: Receiver) -> None:
    with Peer(receiver.port) as peer:
        assert peer.associate(called="SOMEONE") == 3


@pytest.mark.parametrize(
    "bad", ["../../../x", "/etc/passwd", "1.2/../3", "1.2\0.3", "1." + "2" * 80, "", "a.b", ".", "1."]
)
def test_a_path_in_a_uid_is_refused_and_nothing_is_written(receiver: Receiver, image: Dataset, bad: str) -> None:
    before = receiver.rows("select count(*) from instance")
    image.SOPInstanceUID = image.SeriesInstanceUID = "1.2.3"
    raw = encoded(image).replace(b"\x20\x00\x0e\x00UI\x06\x001.2.3\0", hostile_uid(b"\x20\x00\x0e\x00UI", bad))
    with Peer(receiver.port) as peer:
        assert peer.associate() == 2
        peer.say(store_pdus(bad, raw))
        assert peer.status() == 0x0117
        peer.say(store_pdus("1.2.3", raw))
        assert peer.status() in (0x0117, 0xC000)
    assert receiver.rows("select count(*) from instance") == before
    assert not receiver.unfinished()


def hostile_uid(head: bytes, text: str) -> bytes:
    value = text.encode() + b"\0" * (len(text) % 2)
    return head + struct.pack("<H", len(value)) + value


def test_no_object_lies_outside_the_storage_or_is_named_by_a_uid(receiver: Receiver, image: Dataset) -> None:
    tmp_path = receiver.folder
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(receiver.storage)}
    with Peer(receiver.port) as peer:
        assert peer.associate() == 2
        assert peer.store(image) == 0
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(receiver.storage)} == before
    names = [str(path.relative_to(receiver.storage)) for path in receiver.storage.rglob("*")]
    assert not [name for name in names if str(image.SeriesInstanceUID) in name or str(image.SOPInstanceUID) in name]


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit])
def test_a_deflated_or_lossy_syntax_is_not_accepted(receiver: Receiver, image: Dataset, syntax: str) -> None:
    with Peer(receiver.port) as peer:
        assert peer.associate(syntaxes=(syntax,)) == 2  # verification is accepted
        peer.say(store_pdus(str(image.SOPInstanceUID), encoded(image)))
        assert peer.status() is None
    assert not receiver.has(image.SOPInstanceUID)


@pytest.mark.parametrize("kind", [1, 4, 5, 6])
def test_an_oversized_pdu_is_cut_off_before_it_is_read(receiver: Receiver, kind: int) -> None:
    with Peer(receiver.port, 5.0) as peer:
        if kind != 1:
            assert peer.associate() == 2
        peer.say(struct.pack(">BBI", kind, 0, 0xFFFFFFF0) + bytes(100_000))
        assert peer.pdu()[0] in (0, 7)
    assert receiver.peak_mb() < MEMORY_LIMIT_MB
    assert echo_seconds(receiver.port) < ECHO_LIMIT_SECONDS


def test_half_open_sockets_do_not_block_the_listener(receiver: Receiver) -> None:
    sockets = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(150)]
    try:
        for half_open in sockets:
            half_open.send(b"\x01\x00\x00")
        assert max(echo_seconds(receiver.port) for _ in range(5)) < ECHO_LIMIT_SECONDS
        assert receiver.peak_mb() < MEMORY_LIMIT_MB
    finally:
        for half_open in sockets:
            half_open.close()


def test_a_request_that_never_ends_is_cut_off_in_time(start: Start) -> None:
    with start(dicom={"request_seconds": 1}) as receiver, Peer(receiver.port, 20.0) as peer:
        peer.say(request_pdu()[:40])
        began = time.monotonic()
        assert peer.pdu()[0] in (0, 7)
        assert time.monotonic() - began < 3.0


def test_a_request_that_trickles_in_is_cut_off_in_time(start: Start) -> None:
    """A byte now and then, each well within any time-out between two reads: the deadline is for the whole request."""
    with start(dicom={"request_seconds": 1}) as receiver, Peer(receiver.port, 20.0) as peer:
        began = time.monotonic()
        assert not trickles(peer, request_pdu(), every=0.2, seconds=8.0)
        assert time.monotonic() - began < 4.0


def test_a_message_that_trickles_in_is_cut_off_in_time(start: Start, image: Dataset) -> None:
    with start(dicom={"message_seconds": 1}) as receiver, Peer(receiver.port, 20.0) as peer:
        assert peer.associate() == 2
        pdus = store_pdus(str(image.SOPInstanceUID), encoded(image))
        peer.say(pdus[:500])
        began = time.monotonic()
        assert not trickles(peer, pdus[500:], every=0.2, seconds=8.0)
        assert time.monotonic() - began < 4.0
        assert gone(receiver)


def trickles(peer: Peer, data: bytes, every: float, seconds: float) -> bool:
    """Send byte by byte; True if the peer is still listening after `seconds`."""
    deadline = time.monotonic() + seconds
    for k in range(len(data)):
        try:
            peer.say(data[k : k + 1])
        except OSError:
            return False
        time.sleep(every)
        if time.monotonic() > deadline:
            break
    return True


def test_an_honest_peer_is_served_while_the_attack_goes_on(receiver: Receiver) -> None:
    """Half-open sockets, noise and greedy requests without pause, from the honest peer's own address."""
    stop = threading.Event()
    attackers = [threading.Thread(target=attack, args=(receiver.port, stop, k)) for k in range(4)]
    for attacker in attackers:
        attacker.start()
    try:
        time.sleep(0.5)
        slowest = max(echo_seconds(receiver.port) for _ in range(10))
    finally:
        stop.set()
        for attacker in attackers:
            attacker.join()
    assert slowest < ECHO_LIMIT_SECONDS
    assert receiver.peak_mb() < MEMORY_LIMIT_MB


def attack(port: int, stop: threading.Event, number: int) -> None:
    """One attacker of four kinds; keeps its last hundred sockets open, two hundred connections a second at most."""
    say = [b"\x01\x00\x00", b"\xff" * 500, request_pdu(calling="GREEDY"), request_pdu()[:60]][number]
    held: deque[socket.socket] = deque(maxlen=100)
    while not stop.wait(0.005):
        with contextlib.suppress(OSError):
            if len(held) == held.maxlen:
                held[0].close()
            held.append(socket.create_connection(("127.0.0.1", port), 5))
            held[-1].sendall(say)
    for connection in held:
        connection.close()


def test_silent_associations_make_room_for_an_honest_peer_from_the_same_address(start: Start) -> None:
    with start(dicom={"max_associations": 6, "max_per_caller": 6}) as receiver:
        silent = [Peer(receiver.port) for _ in range(6)]
        assert [peer.associate(calling="SILENT") for peer in silent] == [2] * 6
        time.sleep(3.2)
        assert echo_seconds(receiver.port) < ECHO_LIMIT_SECONDS
        for peer in silent:
            peer.socket.close()


def test_associations_that_trickle_make_room_too(start: Start) -> None:
    with start(dicom={"max_associations": 4, "max_per_caller": 4}) as receiver:
        slow = [Peer(receiver.port) for _ in range(4)]
        for peer in slow:
            assert peer.associate(calling="SLOW") == 2
        for _ in range(8):
            for peer in slow:
                peer.say(ECHO_PDUS)
            time.sleep(0.4)
        assert echo_seconds(receiver.port) < ECHO_LIMIT_SECONDS
        for peer in slow:
            peer.socket.close()


def test_one_caller_cannot_take_every_association(start: Start) -> None:
    with start(dicom={"max_associations": 6, "max_per_caller": 3}) as receiver:
        peers = [Peer(receiver.port) for _ in range(6)]
        assert [peer.associate(calling="GREEDY") for peer in peers] == [2, 2, 2, 3, 3, 3]
        assert echo_seconds(receiver.port) < ECHO_LIMIT_SECONDS
        for peer in peers:
            peer.socket.close()


def test_a_message_that_never_ends_is_cut_off_and_its_file_removed(start: Start) -> None:
    with start(dicom={"message_seconds": 2}) as receiver, Peer(receiver.port, 10.0) as peer:
        assert peer.associate() == 2
        peer.say(pdata(3, command_set(1, "1.2.840.10008.5.1.4.1.1.2", "1.2.3"), command=True))
        peer.say(pdata(3, bytes(1000), command=False, last=False))
        time.sleep(0.3)
        assert len(receiver.unfinished()) == 1
        began = time.monotonic()
        assert peer.pdu()[0] in (0, 7)
        assert time.monotonic() - began < 4.0
        assert gone(receiver)


@pytest.mark.parametrize(("rest", "ending"), [(b"", "IDLE"), (b"\x04\x00\x00", "ABORTED")])
def test_one_that_fell_silent_is_ended_and_told_apart(start: Start, image: Dataset, rest: bytes, ending: str) -> None:
    with start(dicom={"idle_seconds": 1}) as receiver, Peer(receiver.port, 5.0) as peer:
        assert peer.associate() == 2
        assert peer.store(image) == 0
        peer.say(rest)
        began = time.monotonic()
        assert peer.pdu()[0] in (0, 7)
        assert time.monotonic() - began < 3.0
        wait_for(lambda: receiver.rows("select ending from association") == [(ending,)], 5)


def test_endless_empty_fragments_are_cut_off(receiver: Receiver) -> None:
    with Peer(receiver.port) as peer:
        assert peer.associate() == 2
        peer.say(pdata(3, command_set(1, "1.2.840.10008.5.1.4.1.1.2", "1.2.3"), command=True))
        flood(peer, pdata(3, b"", command=False, last=False) * 500, 200)
        assert peer.pdu()[0] in (0, 7)
    assert gone(receiver)
    assert receiver.peak_mb() < MEMORY_LIMIT_MB


def test_pipelined_messages_are_held_back_by_the_sender_not_in_memory(receiver: Receiver) -> None:
    """The peer sends 256 MB of unanswered C-STOREs and reads nothing."""
    message = store_pdus("1.2.3", bytes(2**20), sop_class="1.2.840.10008.5.1.4.1.1.2")
    with Peer(receiver.port, 2.0) as peer:
        assert peer.associate() == 2
        flood(peer, message, 256)
        assert echo_seconds(receiver.port) < ECHO_LIMIT_SECONDS
    assert receiver.peak_mb() < MEMORY_LIMIT_MB


def test_an_object_larger_than_allowed_is_cut_off_and_removed(start: Start) -> None:
    with start(dicom={"max_object_mb": 2}) as receiver, Peer(receiver.port) as peer:
        assert peer.associate() == 2
        flood(peer, store_pdus("1.2.3", bytes(8 * 2**20)), 1)
        assert peer.pdu()[0] in (0, 7)
        assert gone(receiver)


def test_a_large_command_set_is_cut_off(receiver: Receiver) -> None:
    with Peer(receiver.port) as peer:
        assert peer.associate() == 2
        flood(peer, pdata(3, bytes(16_000), command=True, last=False), 100)
        assert peer.pdu()[0] in (0, 7)
    assert receiver.peak_mb() < MEMORY_LIMIT_MB


@pytest.mark.parametrize("levels", [40, 400, 20_000])
@pytest.mark.parametrize("defined", [True, False])
def test_deep_nesting_is_refused(receiver: Receiver, image: Dataset, levels: int, defined: bool) -> None:
    nested = b""
    for _ in range(min(levels, 3000) if defined else 0):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(nested)) + nested
        nested = b"\x08\x00\x40\x11SQ\0\0" + struct.pack("<I", len(item)) + item
    if not defined:
        opened = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
        closed = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
        nested = opened * levels + closed * levels
    raw = encoded(image)
    cut = raw.index(b"\x10\x00\x10\x00PN")
    with Peer(receiver.port) as peer:
        assert peer.associate() == 2
        peer.say(store_pdus(str(image.SOPInstanceUID), raw[:cut] + nested + raw[cut:]))
        assert peer.status() == 0xC000
    assert not receiver.has(image.SOPInstanceUID)


def test_a_million_elements_do_not_stall_the_others(receiver: Receiver, image: Dataset) -> None:
    raw = encoded(image)
    cut = raw.index(b"\x10\x00\x10\x00PN")
    many = b"\x09\x00\x10\x10LO\0\0" * 1_000_000
    with Peer(receiver.port) as peer:
        assert peer.associate() == 2
        peer.say(store_pdus(str(image.SOPInstanceUID), raw[:cut] + many + raw[cut:]))
        assert echo_seconds(receiver.port) < ECHO_LIMIT_SECONDS
        assert peer.status() == 0xC000


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_object_is_refused(receiver: Receiver, image: Dataset, keep: float) -> None:
    raw = encoded(image)
    with Peer(receiver.port) as peer:
        assert peer.associate() == 2
        peer.say(store_pdus(str(image.SOPInstanceUID), raw[: int(len(raw) * keep) // 2 * 2]))
        assert peer.status() == 0xC000
    assert not receiver.unfinished()


def test_an_abort_in_mid_object_leaves_no_file(receiver: Receiver) -> None:
    with Peer(receiver.port) as peer:
        assert peer.associate() == 2
        peer.say(store_pdus("1.2.3", bytes(200_000))[:100_000])
        time.sleep(0.3)
        assert len(receiver.unfinished()) == 1
    assert gone(receiver)


def test_the_name_of_a_patient_stands_in_no_log_and_no_file_name(start: Start) -> None:
    canary = "Canarybird"
    with start(logging={"level": "DEBUG", "format": "json"}) as receiver:
        with Peer(receiver.port) as peer:
            assert peer.associate() == 2
            for k in range(3):
                assert peer.store(marked(ct_image(k), canary)) == 0
            changed = marked(ct_image(0), canary)
            changed.PatientName = f"{canary}2^X"
            assert peer.store(changed) == 0
            bad = marked(ct_image(1), canary)
            bad.PixelData = b"\0\0"
            assert peer.store(bad) == 0xC000
        assert receiver.stop() == 0
        assert canary.lower() not in receiver.logged().lower()
        assert not [path for path in receiver.storage.rglob("*") if canary.lower() in str(path).lower()]


def marked(image: Dataset, canary: str) -> Dataset:
    image.PatientName, image.PatientID = f"{canary}^X", f"{canary}-1"
    image.SeriesDescription = f"{canary} planning"
    return image


def test_files_and_folders_are_readable_by_the_service_user_alone(receiver: Receiver, image: Dataset) -> None:
    with Peer(receiver.port) as peer:
        assert peer.associate() == 2
        assert peer.store(image) == 0
    for path in [
        *(receiver.storage / "series").rglob("*"),
        receiver.storage / "incoming",
        receiver.storage / "quarantine",
    ]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_private_element_of_odd_content_is_stored_as_received(receiver: Receiver, image: Dataset) -> None:
    image.add(DataElement(0x00091001, "UN", bytes(range(256))))
    with Peer(receiver.port) as peer:
        assert peer.associate() == 2
        assert peer.store(image) == 0
    assert receiver.kept()[-1].read_bytes().endswith(encoded(image))


def flood(peer: Peer, data: bytes, times: int) -> None:
    """Send until it is all gone, the peer hangs up, or its time-out says that it reads no more."""
    try:
        for _ in range(times):
            peer.say(data)
    except OSError:
        return


def gone(receiver: Receiver, seconds: float = 3.0) -> bool:
    """Whether the unfinished files vanish in time."""
    deadline = time.monotonic() + seconds
    while receiver.unfinished() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not receiver.unfinished()
