import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context

from rtseg_daemon.dicom.proposal import Context, Offer, agreement, encode_proposal, usable_length
from rtseg_daemon.dicom.wire import ABORT, ASSOCIATE_AC, ASSOCIATE_RJ, PeerFault, PeerGone, PeerLimits
from rtseg_daemon.receive.negotiation import UNKNOWN_CALLED, accept, decode_request

LIMITS = PeerLimits()
OFFERS = [
    Offer("1.2.840.10008.1.1", (str(ImplicitVRLittleEndian),)),
    Offer(str(CTImageStorage), (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)), provides=True),
]


def consent() -> bytes:
    """What our own listener answers to our own proposal, having both classes, without its header."""
    request = decode_request(memoryview(encode_proposal("A", "B", OFFERS, LIMITS))[6:])
    supported = [build_context(offer.sop_class, list(offer.syntaxes)) for offer in OFFERS]
    supported[1].scu_role, supported[1].scp_role = True, True
    return accept(request, supported, PeerLimits(pdu_bytes=4096))[1][6:]


CONSENT = consent()


def test_a_proposal_is_understood_and_its_answer_read() -> None:
    agreed = agreement(ASSOCIATE_AC, memoryview(CONSENT), OFFERS, LIMITS)
    assert agreed.pdu_bytes == 4096
    assert agreed.contexts == {
        1: Context(1, "1.2.840.10008.1.1", str(ImplicitVRLittleEndian)),
        3: Context(3, str(CTImageStorage), str(ExplicitVRLittleEndian)),
    }


def test_a_context_that_was_not_offered_is_a_fault() -> None:
    with pytest.raises(PeerFault, match="presentation context 3 was accepted as it was not offered"):
        agreement(ASSOCIATE_AC, memoryview(CONSENT), OFFERS[:1], LIMITS)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            UNKNOWN_CALLED.encode()[6:],
            "rejected: rejected-permanent, DICOM UL service-user, called-AE-title-not-recognized",
        ),
        (b"\0\xff\xff\xff", "rejected: result 255, source 255, reason 255"),
    ],
)
def test_a_rejection_is_told_in_words_or_else_in_numbers(body: bytes, words: str) -> None:
    with pytest.raises(PeerFault, match=words):
        agreement(ASSOCIATE_RJ, memoryview(body), OFFERS, LIMITS)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\0\0\0\0", "aborted: DICOM UL service-user"),
        (b"\0\0\2\1", "aborted: DICOM UL service-provider, unrecognized-PDU"),
        (b"\0\0\2\7", "aborted: DICOM UL service-provider, reason 7"),
    ],
)
def test_an_abort_is_told_in_words_or_else_in_numbers(body: bytes, words: str) -> None:
    with pytest.raises(PeerGone, match=f"^{words}$"):
        agreement(ABORT, memoryview(body), OFFERS, LIMITS)


@pytest.mark.parametrize("kind", [1, 4, 5, 6])
def test_another_pdu_is_no_answer_to_a_proposal(kind: int) -> None:
    with pytest.raises(PeerFault, match=f"PDU type 0x0{kind}"):
        agreement(kind, memoryview(bytes(4)), OFFERS, LIMITS)


@pytest.mark.parametrize(("announced", "usable"), [(None, 131072), (0, 131072), (1024, 1024), (2**32 - 1, 131072)])
def test_a_maximum_length_is_used_up_to_our_own(announced: int | None, usable: int) -> None:
    assert usable_length(announced, LIMITS) == usable


@settings(deadline=None)
@given(st.sampled_from([ASSOCIATE_AC, ASSOCIATE_RJ]), st.binary(max_size=300))
def test_bytes_that_are_no_answer_are_a_fault_and_nothing_else(kind: int, noise: bytes) -> None:
    with pytest.raises(PeerFault):
        agreement(kind, memoryview(noise), OFFERS, LIMITS)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=8), st.data())
def test_a_damaged_answer_is_read_or_a_fault(patch: bytes, data: st.DataObject) -> None:
    body = bytearray(CONSENT)
    at = data.draw(st.integers(0, len(body) - len(patch)))
    body[at : at + len(patch)] = patch
    try:
        agreed = agreement(ASSOCIATE_AC, memoryview(body), OFFERS, LIMITS)
    except PeerFault:
        return
    assert 1024 <= agreed.pdu_bytes <= LIMITS.pdu_bytes
    assert all(number in (1, 3) for number in agreed.contexts)
