"""Why an association was rejected or aborted, in the standard's words (PS3.8, 9.3.4 and 9.3.8)."""

from dataclasses import dataclass

from rtseg_daemon.dicom.wire import PeerFault, PeerGone

RESULTS = {1: "rejected-permanent", 2: "rejected-transient"}
USER, ACSE, PRESENTATION = 1, 2, 3
SOURCES = {
    USER: "DICOM UL service-user",
    ACSE: "DICOM UL service-provider (ACSE related function)",
    PRESENTATION: "DICOM UL service-provider (Presentation related function)",
}
APPLICATION_CONTEXT, CALLING_TITLE, CALLED_TITLE = (USER, 2), (USER, 3), (USER, 7)
PROTOCOL_VERSION, CONGESTION, LOCAL_LIMIT = (ACSE, 2), (PRESENTATION, 1), (PRESENTATION, 2)
REASONS = {
    (USER, 1): "no-reason-given",
    APPLICATION_CONTEXT: "application-context-name-not-supported",
    CALLING_TITLE: "calling-AE-title-not-recognized",
    CALLED_TITLE: "called-AE-title-not-recognized",
    (ACSE, 1): "no-reason-given",
    PROTOCOL_VERSION: "protocol-version-not-supported",
    CONGESTION: "temporary-congestion",
    LOCAL_LIMIT: "local-limit-exceeded",
}
ABORT_SOURCES = {0: "DICOM UL service-user", 2: "DICOM UL service-provider"}
ABORT_REASONS = {
    0: "reason-not-specified",
    1: "unrecognized-PDU",
    2: "unexpected-PDU",
    4: "unrecognized-PDU parameter",
    5: "unexpected-PDU parameter",
    6: "invalid-PDU-parameter value",
}


@dataclass(frozen=True)
class PeersRejection:
    """The three fields of an A-ASSOCIATE-RJ (table 9-21)."""

    result: int
    source: int
    reason: int

    @property
    def is_transient(self) -> bool:
        return self.result == 2

    @property
    def words(self) -> str:
        """Result, source and reason as the standard calls them. A number that it does not define stays one."""
        result = RESULTS.get(self.result, f"result {self.result}")
        source = SOURCES.get(self.source, f"source {self.source}")
        reason = REASONS.get((self.source, self.reason), f"reason {self.reason}")
        return f"{result}, {source}, {reason}"


class Rejected(PeerFault):
    """The peer answered the association request by a rejection."""

    def __init__(self, rejection: PeersRejection) -> None:
        super().__init__(f"rejected: {rejection.words}")
        self.rejection = rejection


class NothingAccepted(PeerFault):
    """The peer accepts the association, and none of what was offered on it."""


class Aborted(PeerGone):
    """The peer answered the association request by an A-ABORT."""

    def __init__(self, source: int, reason: int) -> None:
        words = ABORT_SOURCES.get(source, f"source {source}")
        if source == 2:
            words += f", {ABORT_REASONS.get(reason, f'reason {reason}')}"
        super().__init__(f"aborted: {words}")


def read_rejection(body: memoryview) -> PeersRejection:
    """From the four bytes of an A-ASSOCIATE-RJ. Raises PeerFault where they are not there."""
    if len(body) != 4:
        raise PeerFault(f"a rejection of {len(body)} bytes")
    return PeersRejection(body[1], body[2], body[3])


def read_abort(body: memoryview) -> Aborted:
    """From the four bytes of an A-ABORT."""
    return Aborted(*body[2:4]) if len(body) == 4 else Aborted(0, 0)
