import socket
import struct
import threading
import time
from collections.abc import Iterator

import pynetdicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC

from rtseg_daemon.dicom.contexts import COMMITMENT, commitment_context, supported_contexts
from rtseg_daemon.dicom.proposal import PYNETDICOM_VERSION
from rtseg_daemon.dicom.wire import (
    PeerFault,
    PeerGone,
    PeerLimits,
    PeerReleased,
    Wire,
    abort_pdu,
    encode_command,
    fragments,
    release_reply,
)
from rtseg_daemon.receive.listener import notice_death
from rtseg_daemon.receive.negotiation import UNKNOWN_CALLER, accept, decode_request
from tests.receiver import RELEASE, pdata, request_pdu

REQUEST = request_pdu()


@pytest.fixture
def wires() -> Iterator[tuple[socket.socket, Wire]]:
    theirs, ours = socket.socketpair()
    wire = Wire(ours, PeerLimits(pdu_bytes=1000))
    yield theirs, wire
    theirs.close()
    wire.close()


def test_the_version_of_pynetdicom_is_the_one_that_was_read() -> None:
    """Fails on an upgrade, on purpose: read what changed in pdu.py, pdu_primitives.py, presentation.py, then pin it."""
    assert pynetdicom.__version__ == PYNETDICOM_VERSION


def test_its_acceptor_still_reads_whatever_length_is_announced() -> None:
    """The reason for this module. When the library caps this itself, the module can shrink."""
    from inspect import getsource

    from pynetdicom.dul import DULServiceProvider

    assert "self.socket.recv(pdu_length)" in getsource(DULServiceProvider._read_pdu_data)


def test_a_request_is_decoded_and_answered_with_what_both_sides_can() -> None:
    request = decode_request(memoryview(request_pdu(calling="PACS"))[6:])
    assert (request.calling_ae_title, request.called_ae_title) == ("PACS", "RTSEG")
    contexts, answer = accept(request, supported_contexts(), PeerLimits(pdu_bytes=65536))
    assert {number: str(context.abstract_syntax) for number, context in contexts.items()} == {
        1: "1.2.840.10008.1.1",
        3: CTImageStorage,
    }
    decoded = A_ASSOCIATE_AC()
    decoded.decode(answer)
    assert decoded.user_information.maximum_length == 65536


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_bytes_that_are_no_request_are_a_fault_and_nothing_else(noise: bytes) -> None:
    try:
        decode_request(memoryview(noise))
    except PeerFault:
        return


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=8), st.data())
def test_a_damaged_request_is_decoded_or_a_fault(patch: bytes, data: st.DataObject) -> None:
    body = bytearray(REQUEST[6:])
    at = data.draw(st.integers(0, len(body) - len(patch)))
    body[at : at + len(patch)] = patch
    try:
        request = decode_request(memoryview(body))
        accept(request, supported_contexts(), PeerLimits())
    except PeerFault:
        return


def test_a_context_without_an_abstract_syntax_is_a_fault() -> None:
    """Found by the fuzzer: the library decodes it, and breaks on it when it negotiates."""
    whole = bytearray(REQUEST[6:])
    whole[whole.index(b"\x30\x00\x00\x11" + b"1.2.840.10008.1.1")] = 0x40
    with pytest.raises(PeerFault, match="make no sense"):
        accept(decode_request(memoryview(whole)), supported_contexts(), PeerLimits())


def test_commitment_is_accepted_only_from_a_peer_that_provides_it() -> None:
    """Without a role, or as its user, the peer would want us to commit; that we do not promise."""
    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

    def results(scu: bool | None, scp: bool | None) -> list[int]:
        request = decode_request(memoryview(request_pdu(contexts={1: (COMMITMENT, [ExplicitVRLittleEndian])}))[6:])
        if scu is not None:
            role = SCP_SCU_RoleSelectionNegotiation()
            role.sop_class_uid, role.scu_role, role.scp_role = COMMITMENT, scu, scp
            request.user_information = [*request.user_information, role]
        return list(accept(request, [commitment_context()], PeerLimits())[0])

    assert results(False, True) == [1]
    assert results(None, None) == []
    assert results(True, False) == []


def test_a_pdu_is_read_whole(wires: tuple[socket.socket, Wire]) -> None:
    peer, wire = wires
    threading.Thread(
        target=lambda: [(peer.send(bytes([b])), time.sleep(0.001)) for b in pdata(3, b"abc", command=True)]
    ).start()
    fragment = wire.read_fragment()
    assert (fragment.context_id, fragment.is_command, fragment.is_last, bytes(fragment.data)) == (3, True, True, b"abc")


def test_several_values_in_one_pdu_come_one_by_one(wires: tuple[socket.socket, Wire]) -> None:
    peer, wire = wires
    body = pdata(1, b"one", command=True, last=False)[6:] + pdata(3, b"two", command=False)[6:]
    peer.send(struct.pack(">BBI", 4, 0, len(body)) + body)
    first = wire.read_fragment()
    assert (first.context_id, first.is_command, first.is_last, bytes(first.data)) == (1, True, False, b"one")
    second = wire.read_fragment()
    assert (second.context_id, second.is_command, second.is_last, bytes(second.data)) == (3, False, True, b"two")


def test_an_announced_length_over_the_limit_is_a_fault_before_it_is_read(wires: tuple[socket.socket, Wire]) -> None:
    peer, wire = wires
    peer.send(struct.pack(">BBI", 4, 0, 1001))
    with pytest.raises(PeerFault, match="1001 bytes"):
        wire.read_fragment()


@pytest.mark.parametrize("kind", [2, 3, 5, 6, 7])
def test_a_pdu_of_fixed_size_may_not_be_longer(wires: tuple[socket.socket, Wire], kind: int) -> None:
    peer, wire = wires
    peer.send(struct.pack(">BBI", kind, 0, 5) + bytes(5))
    with pytest.raises(PeerFault):
        wire.read_fragment()


@pytest.mark.parametrize("kind", [0, 8, 22, 255])
def test_an_unknown_pdu_type_is_a_fault(wires: tuple[socket.socket, Wire], kind: int) -> None:
    peer, wire = wires
    peer.send(struct.pack(">BBI", kind, 0, 4) + bytes(4))
    with pytest.raises(PeerFault, match="unknown PDU type"):
        wire.read_fragment()


def test_release_abort_and_a_lost_connection_are_told_apart(wires: tuple[socket.socket, Wire]) -> None:
    peer, wire = wires
    peer.send(RELEASE)
    with pytest.raises(PeerReleased):
        wire.read_fragment()
    peer.send(abort_pdu(provider=False))
    with pytest.raises(PeerGone, match="aborted"):
        wire.read_fragment()
    peer.send(RELEASE[:3])
    peer.close()
    with pytest.raises(PeerGone, match="closed"):
        wire.read_fragment()


@pytest.mark.parametrize(("seconds", "longest"), [(60.0, 30), (1.0, 4), (7200.0, 3600)])
def test_a_peer_that_died_is_noticed_before_its_silence_is_too_long(seconds: float, longest: int) -> None:
    with socket.socket() as sock:
        notice_death(sock, seconds)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, pause, count = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + count * pause <= longest


def test_a_wire_that_is_cut_wakes_its_reader(wires: tuple[socket.socket, Wire]) -> None:
    _, wire = wires
    threading.Timer(0.05, wire.cut).start()
    with pytest.raises(PeerGone):
        wire.read_fragment()


@pytest.mark.parametrize(
    "body", [b"\0", b"\0\0\0\0\1\3", b"\0\0\0\1\1\3", b"\0\0\0\xff\1\3abc", b"\xff\xff\xff\xff\1\3"]
)
def test_values_that_do_not_fit_their_pdu_are_a_fault(body: bytes) -> None:
    with pytest.raises(PeerFault):
        list(fragments(memoryview(body)))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 3), st.binary(max_size=30)), max_size=8))
def test_values_survive_packing(values: list[tuple[int, int, bytes]]) -> None:
    body = b"".join(struct.pack(">IBB", len(data) + 2, context, control) + data for context, control, data in values)
    found = [(f.context_id, f.is_command | f.is_last << 1, bytes(f.data)) for f in fragments(memoryview(body))]
    assert found == values


def test_an_encoded_command_is_one_value_of_one_pdu() -> None:
    data = encode_command(5, b"command!")
    assert data == pdata(5, b"command!", command=True)


def test_the_short_answers_are_well_formed() -> None:
    assert release_reply() == bytes.fromhex("06000000000400000000")
    assert abort_pdu(provider=True) == bytes.fromhex("07000000000400000200")
    assert UNKNOWN_CALLER.encode() == bytes.fromhex("03000000000400010103")


def test_a_context_for_ct_offers_no_deflated_and_no_lossy_syntax() -> None:
    offered = {str(syntax) for context in supported_contexts() for syntax in context.transfer_syntax or ()}
    assert "1.2.840.10008.1.2.1.99" not in offered
    assert not {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91)} & offered
    assert build_context(CTImageStorage).abstract_syntax in {
        context.abstract_syntax for context in supported_contexts()
    }
