"""Association requests of strangers: decoded, negotiated, answered or rejected."""

import struct
from dataclasses import dataclass

from pynetdicom._globals import APPLICATION_CONTEXT_NAME
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from rtseg_daemon.dicom.proposal import ourselves
from rtseg_daemon.dicom.wire import ASSOCIATE_RQ, PeerFault, PeerLimits

USER_REJECTION = 0x01


def decode_request(body: memoryview) -> A_ASSOCIATE:
    """The association request in the body of an A-ASSOCIATE-RQ. Raises PeerFault if it is none.

    The library's parser raises many kinds of exceptions on hostile bytes, hence the broad net.
    """
    try:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(struct.pack(">BBI", ASSOCIATE_RQ, 0, len(body)) + bytes(body))
        if pdu.protocol_version & 1 == 0:
            raise PeerFault("unsupported protocol version")
        return pdu.to_primitive()
    except PeerFault:
        raise
    except Exception as error:
        raise PeerFault(f"unreadable association request ({type(error).__name__})") from error


def accept(
    request: A_ASSOCIATE, supported: list[PresentationContext], limits: PeerLimits
) -> tuple[dict[int, PresentationContext], bytes]:
    """The accepted contexts by id, and the A-ASSOCIATE-AC that says so. Raises PeerFault where nothing can be agreed.

    The library decodes a context without an abstract syntax and breaks on it here, hence the broad net.
    """
    try:
        contexts, replies = negotiated(request, supported)
        answer = A_ASSOCIATE()
        answer.application_context_name = APPLICATION_CONTEXT_NAME
        answer.calling_ae_title = request.calling_ae_title
        answer.called_ae_title = request.called_ae_title
        answer.result, answer.result_source = 0, 1
        answer.presentation_context_definition_results_list = contexts
        answer.user_information = [*ourselves(limits), *replies]
        return {c.context_id or 0: c for c in contexts if c.result == 0}, A_ASSOCIATE_AC(answer).encode()
    except Exception as error:
        raise PeerFault(f"presentation contexts that make no sense ({type(error).__name__})") from error


def negotiated(
    request: A_ASSOCIATE, supported: list[PresentationContext]
) -> tuple[list[PresentationContext], list[SCP_SCU_RoleSelectionNegotiation]]:
    """Every proposed context with its result, and the roles we agree to."""
    roles = {
        item.sop_class_uid: (item.scu_role, item.scp_role)
        for item in request.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid is not None
    }
    contexts, replies = negotiate_as_acceptor(request.presentation_context_definition_list, supported, roles)
    asked_roles = {context.abstract_syntax for context in supported if context.scp_role is not None}
    for context in contexts:
        if context.abstract_syntax in asked_roles and context.as_scp:
            context.result = USER_REJECTION  # the peer did not take the role in which alone we serve this class
    return contexts, replies


@dataclass(frozen=True)
class Rejection:
    """Why an association is rejected, as in an A-ASSOCIATE-RJ (PS3.8, table 9-21), in words, and by a short name."""

    result: int
    source: int
    reason: int
    why: str
    kind: str = "other"

    def encode(self) -> bytes:
        answer = A_ASSOCIATE()
        answer.result, answer.result_source, answer.diagnostic = self.result, self.source, self.reason
        data: bytes = A_ASSOCIATE_RJ(answer).encode()
        return data


UNKNOWN_CALLER = Rejection(1, 1, 3, "this calling AE title is not in dicom.allowed_callers", "calling_title")
OTHER_ADDRESS = Rejection(1, 1, 3, "dicom.allowed_callers has this AE title at another address", "address")
OTHER_CERTIFICATE = Rejection(
    1, 1, 3, "dicom.allowed_callers binds this AE title to another certificate", "certificate"
)
NOT_THIS_MACHINE = Rejection(1, 1, 3, "without dicom.allowed_callers only this machine may call", "no_list")
UNKNOWN_CALLED = Rejection(1, 1, 7, "called AE title is not dicom.ae_title", "called_title")
UNKNOWN_FOR_NOW = Rejection(
    2, 3, 1, "the host name of this caller in dicom.allowed_callers cannot be looked up now", "lookup"
)
TOO_MANY = Rejection(2, 3, 2, "too many associations", "full")
