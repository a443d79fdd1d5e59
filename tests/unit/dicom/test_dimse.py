from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dsutils import decode

from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.dimse import Status, decode_command, encode_command_set, encode_response
from rtseg_daemon.dicom.wire import PeerFault
from tests.receiver import command_set

CT = "1.2.840.10008.5.1.4.1.1.2"


def test_a_store_request_is_read() -> None:
    command = decode_command(command_set(1, CT, "1.2.3", message=77))
    assert command.field == dimse.C_STORE_RQ
    assert command.text(dimse.AFFECTED_CLASS) == CT
    assert command.text(dimse.AFFECTED_INSTANCE) == "1.2.3"
    assert command.number(dimse.MESSAGE_ID) == 77
    assert command.has_data


def test_a_response_reads_back_with_another_decoder() -> None:
    request = decode_command(command_set(1, CT, "1.2.3", message=77))
    answer = decode(BytesIO(encode_response(request, Status(0xA700, "x" * 80))), True, True)
    assert (answer.CommandField, answer.MessageIDBeingRespondedTo, answer.Status) == (0x8001, 77, 0xA700)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, "1.2.3")
    assert answer.ErrorComment == "x" * 64
    assert answer.CommandDataSetType == 0x0101
    assert answer.CommandGroupLength == len(encode_response(request, Status(0xA700, "x" * 80))) - 12


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\1\2\0\0",
        b"\0\0\0\1\2\0\0\0\1",
        b"\0\0\0\1\xff\xff\xff\xff\1\0",
        b"\x08\0\x18\0\2\0\0\0AB",
    ],
)
def test_a_broken_command_set_is_a_fault(data: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_command(data)


@pytest.mark.parametrize("value", [b"", b"\1", b"\1\0\0\0"])
def test_a_number_that_is_missing_or_malformed_is_a_fault(value: bytes) -> None:
    command = decode_command(
        encode_command_set({dimse.FIELD: value + b" " * (len(value) % 2)}) if value != b"\1" else b""
    )
    with pytest.raises(PeerFault):
        command.number(dimse.FIELD)


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 0xFFFF), st.binary(max_size=40).filter(lambda v: len(v) % 2 == 0), max_size=12))
def test_a_command_set_survives_packing(values: dict[int, bytes]) -> None:
    decoded = decode_command(encode_command_set(values)).values
    assert {k: v for k, v in decoded.items() if k != 0} == values


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_a_command_set_or_a_fault_and_nothing_else(noise: bytes) -> None:
    try:
        command = decode_command(noise)
        assert isinstance(command.text(dimse.AFFECTED_INSTANCE), str)
    except PeerFault:
        return
