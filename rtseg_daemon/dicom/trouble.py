"""What stands between us and a peer: from what happened to a sentence that says what is wrong, and one what to do.

Pure. `probe.py` looks further where what happened has more than one explanation.
"""

import errno
import socket
import ssl
from dataclasses import dataclass

from rtseg_daemon.dicom import rejection
from rtseg_daemon.dicom.rejection import Aborted, NothingAccepted, Rejected
from rtseg_daemon.dicom.wire import PeerError
from rtseg_daemon.errors import DeliveryError

TLS_RECORDS = range(0x14, 0x19)
"""First bytes of what a TLS peer says (RFC 8446, 5.1). DICOM PDUs begin with 1 to 7."""
FROM_OTHER_CA = (19, 20, 21, 2, 18)
"""OpenSSL: the chain ends in a certificate that is not the CA's, or is its own issuer."""
NOT_YET, EXPIRED, OTHER_NAME, OTHER_ADDRESS = 9, 10, 62, 64


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong.

    Args:
        kind: for programs, and never changes.
        what: completes "no connection (...)".
        remedy: what to do, an imperative without a full stop.
        is_certain: False where another look may tell more.
    """

    kind: str
    what: str
    remedy: str
    is_certain: bool = True


class NoAssociation(DeliveryError):
    """There is no association with a peer. The message says what is wrong and what to do."""

    def __init__(self, stage: str, names: "CallNames", trouble: Trouble) -> None:
        where = f"{names.peer} at {names.host}:{names.port}"
        super().__init__(f"{where}: {stage} ({trouble.what}); {trouble.remedy}")
        self.trouble = trouble


@dataclass(frozen=True)
class CallNames:
    """Who calls whom, as the configuration has it."""

    peer: str
    host: str
    port: int
    called: str
    calling: str


def of_connecting(error: OSError, names: CallNames) -> Trouble:
    """Why there is no TCP connection."""
    words = error.strerror or str(error) or type(error).__name__
    if isinstance(error, socket.gaierror):
        return Trouble(
            "name",
            f"the name {names.host} cannot be looked up: {words}",
            f"correct `host` of {names.peer}, or see why the name service does not know it (getent hosts {names.host})",
        )
    if isinstance(error, ConnectionRefusedError):
        return Trouble(
            "refused",
            f"the machine refuses connections on port {names.port}: {words}",
            f"start the DICOM service there, or correct `host` and `port` of {names.peer}",
        )
    if isinstance(error, TimeoutError):
        return Trouble(
            "silent host",
            "neither accepted nor refused in the time allowed",
            f"see whether {names.host} is switched on, and whether a firewall drops port {names.port}",
        )
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return Trouble("no way", f"no way to {names.host}: {words}", f"correct `host` of {names.peer}, or the routing")
    return Trouble("network", words, "see whether this machine has a network")


def of_handshake(error: OSError, names: CallNames) -> Trouble:
    """Why TLS was not agreed on. Also for what a peer says about our certificate after its own part is done."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return of_their_certificate(error, names)
    reason = (getattr(error, "reason", None) or "") if isinstance(error, ssl.SSLError) else ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return plain_peer(names)
    if "UNKNOWN_CA" in reason or "CERTIFICATE" in reason or "ACCESS_DENIED" in reason:
        return Trouble(
            "our certificate",
            f"it does not take our certificate ({reason.lower().replace('_', ' ')})",
            f"have the CA of our certificate (dicom.tls.certificate) trusted by {names.peer}, or take one of its CA",
        )
    if "VERSION" in reason or "HANDSHAKE_FAILURE" in reason or "CIPHER" in reason:
        return Trouble(
            "tls profile",
            f"no common version or cipher ({reason.lower().replace('_', ' ')})",
            f"turn on TLS 1.2 with ECDHE and AES-GCM, or TLS 1.3, at {names.peer}",
        )
    words = reason.lower().replace("_", " ") or error.strerror or str(error) or type(error).__name__
    return Trouble(
        "tls", f"it did not answer as TLS does: {words}", f"see whether {names.peer} speaks TLS on this port", False
    )


def of_their_certificate(error: ssl.SSLCertVerificationError, names: CallNames) -> Trouble:
    """Why their certificate does not count here."""
    code, words = error.verify_code, error.verify_message
    if code in FROM_OTHER_CA:
        return Trouble(
            "ca",
            f"its certificate is not of the CA in dicom.tls.ca: {words}",
            f"put the CA of {names.peer} into dicom.tls.ca (the file may hold several)",
        )
    if code in (NOT_YET, EXPIRED):
        return Trouble(
            "certificate time",
            f"its certificate does not count at this time: {words}",
            f"have {names.peer} get a new certificate, and compare the clocks of both machines",
        )
    if code in (OTHER_NAME, OTHER_ADDRESS):
        return Trouble(
            "certificate name",
            f"its certificate is for another host: {words.strip().rstrip('.')}",
            f"write `host` of {names.peer} as its certificate has it, or have it get one that names {names.host}",
        )
    return Trouble("certificate", f"its certificate does not count: {words}", f"have {names.peer} get another one")


def plain_peer(names: CallNames) -> Trouble:
    """We speak TLS, and they do not."""
    return Trouble(
        "no tls",
        "it does not speak TLS on this port",
        f"turn on TLS at {names.peer}, correct `port`, or set `tls: false` if the network may carry it unencrypted",
    )


def tls_peer(names: CallNames) -> Trouble:
    """They speak TLS, and we do not."""
    return Trouble(
        "wants tls",
        "it speaks TLS on this port",
        f"set `tls: true` for {names.peer}, or correct `port`",
    )


def of_proposal(error: PeerError, began_with: bytes, names: CallNames) -> Trouble:
    """Why an association request was not accepted. `began_with`: the first bytes that came in answer, if any did."""
    if isinstance(error, Rejected):
        return of_rejection(error.rejection, names)
    if isinstance(error, NothingAccepted):
        return Trouble("nothing accepted", str(error), f"have {names.peer} set up for what is sent to it")
    if isinstance(error, Aborted):
        return Trouble("aborted", str(error), f"see the log of {names.peer}; it may not know {names.calling}", False)
    if isinstance(error.__cause__, ssl.SSLError):
        return of_handshake(error.__cause__, names)
    if began_with and began_with[0] in TLS_RECORDS and began_with[1:2] == b"\x03":
        return tls_peer(names)
    if began_with and not 1 <= began_with[0] <= 7:
        return not_dicom(began_with, names)
    if not began_with:
        return Trouble(
            "no answer",
            f"it takes the connection and answers nothing: {error}",
            f"see whether a DICOM service listens on port {names.port}, with or without TLS as here, and whether it "
            f"knows {names.calling}",
            False,
        )
    return Trouble("protocol", str(error), f"see the log of {names.peer}")


def not_dicom(began_with: bytes, names: CallNames) -> Trouble:
    """It answered something, and that is no PDU."""
    shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in began_with)
    return Trouble(
        "not dicom",
        f"its answer is not DICOM, it begins with {shown!r}",
        f"correct `port` of {names.peer}: another service listens on {names.port}",
    )


def of_rejection(rejected: rejection.PeersRejection, names: CallNames) -> Trouble:
    """What an A-ASSOCIATE-RJ asks for."""
    why = (rejected.source, rejected.reason)
    remedies = {
        rejection.CALLED_TITLE: (
            "called title",
            f"correct `ae_title` of {names.peer}: it is not {names.called}",
        ),
        rejection.CALLING_TITLE: (
            "calling title",
            f"enter {names.calling} with this machine's address among the callers that {names.peer} knows",
        ),
        rejection.CONGESTION: ("busy", f"wait; if it lasts, see the load of {names.peer}"),
        rejection.LOCAL_LIMIT: ("busy", f"wait; if it lasts, allow more associations at {names.peer}"),
    }
    kind, remedy = remedies.get(why, ("rejected", f"see the log of {names.peer}: what has it against {names.calling}?"))
    return Trouble(kind, f"rejected: {rejected.words}", remedy)
