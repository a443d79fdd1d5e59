"""Association requests of ours: what is proposed, encoded, and the peer's answer to it."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from pynetdicom._globals import APPLICATION_CONTEXT_NAME
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import build_context

from rtseg_daemon.dicom.implementation import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from rtseg_daemon.dicom.rejection import NothingAccepted, Rejected, read_abort, read_rejection
from rtseg_daemon.dicom.wire import ABORT, ASSOCIATE_AC, ASSOCIATE_RJ, PeerError, PeerFault, PeerLimits

PYNETDICOM_VERSION = "3.0.4"

LEAST_PDU_BYTES = 1024
"""A peer that takes less at once is refused: an object would be cut into countless pieces."""

Items = list[MaximumLengthNotification | ImplementationClassUIDNotification | ImplementationVersionNameNotification]


@dataclass(frozen=True)
class Offer:
    """One presentation context that we propose. `provides` says that the peer is to send on it (PS3.7, D.3.3.4)."""

    sop_class: str
    syntaxes: tuple[str, ...]
    provides: bool = False


@dataclass(frozen=True)
class Context:
    """One that the peer accepted, with the transfer syntax that it chose."""

    id: int
    sop_class: str
    syntax: str


@dataclass(frozen=True)
class Agreement:
    """The peer's consent: accepted contexts by id, and how long the body of a P-DATA-TF to it may be."""

    contexts: dict[int, Context]
    pdu_bytes: int


def ourselves(limits: PeerLimits) -> Items:
    """Our user information: largest PDU, implementation class and version (PS3.7, D.3.3)."""
    largest = MaximumLengthNotification()
    largest.maximum_length_received = limits.pdu_bytes
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION
    return [largest, implementation, version]


def numbered(offers: Sequence[Offer]) -> dict[int, Offer]:
    """Offers by context id: odd numbers from 1 (PS3.8, 9.3.2.2)."""
    return {2 * place + 1: offer for place, offer in enumerate(offers)}


def encode_proposal(calling: str, called: str, offers: Sequence[Offer], limits: PeerLimits) -> bytes:
    """The A-ASSOCIATE-RQ."""
    asked = A_ASSOCIATE()
    asked.application_context_name = APPLICATION_CONTEXT_NAME
    asked.calling_ae_title, asked.called_ae_title = calling, called
    contexts = []
    for number, offer in numbered(offers).items():
        context = build_context(offer.sop_class, list(offer.syntaxes))
        context.context_id = number
        contexts.append(context)
    asked.presentation_context_definition_list = contexts
    provided = dict.fromkeys(offer.sop_class for offer in offers if offer.provides)
    asked.user_information = [*ourselves(limits), *map(provider_role, provided)]
    data: bytes = A_ASSOCIATE_RQ(asked).encode()
    return data


def provider_role(sop_class: str) -> SCP_SCU_RoleSelectionNegotiation:
    """We take the provider's part of a class though it is we who call."""
    role = SCP_SCU_RoleSelectionNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = sop_class, False, True
    return role


def agreement(kind: int, body: memoryview, offers: Sequence[Offer], limits: PeerLimits) -> Agreement:
    """What the peer answered to our offers. Raises PeerError where that is a rejection, an abort or makes no sense.

    The library's parser raises many kinds of exceptions on hostile bytes, hence the broad net.
    """
    try:
        if kind == ASSOCIATE_RJ:
            raise Rejected(read_rejection(body))
        if kind == ABORT:
            raise read_abort(body)
        if kind != ASSOCIATE_AC:
            raise PeerFault(f"PDU type 0x{kind:02X} came as the answer to an association request")
        pdu = A_ASSOCIATE_AC()
        pdu.decode(struct.pack(">BBI", ASSOCIATE_AC, 0, len(body)) + bytes(body))
        answer = pdu.to_primitive()
        contexts = accepted(answer, numbered(offers))
        return Agreement(contexts, usable_length(answer.maximum_length_received, limits))
    except PeerError:
        raise
    except Exception as error:
        raise PeerFault(f"unreadable answer to an association request ({type(error).__name__})") from error


def accepted(answer: A_ASSOCIATE, offers: dict[int, Offer]) -> dict[int, Context]:
    """The contexts accepted. Raises PeerFault if there are none, or one that was not offered."""
    contexts = {}
    for result in answer.presentation_context_definition_results_list:
        if result.result != 0:
            continue
        number, syntax = result.context_id or 0, str(result.transfer_syntax[0])
        offer = offers.get(number)
        if offer is None or syntax not in offer.syntaxes:
            raise PeerFault(f"presentation context {number} was accepted as it was not offered")
        contexts[number] = Context(number, offer.sop_class, syntax)
    if not contexts:
        raise NothingAccepted("accepted, but none of the offered presentation contexts")
    return contexts


def usable_length(announced: int | None, limits: PeerLimits) -> int:
    """How long the body of a P-DATA-TF may be. 0 and nothing mean without limit (PS3.8, D.1), so that ours counts.

    Raises PeerFault for a length that is too small to be used.
    """
    if announced and announced < LEAST_PDU_BYTES:
        raise PeerFault(
            f"its maximum PDU length of {announced} bytes is too small to be used; set {LEAST_PDU_BYTES} or more there"
        )
    return min(announced or limits.pdu_bytes, limits.pdu_bytes)
