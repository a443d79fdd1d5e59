"""What is fuzzed: each target takes bytes and may raise only the errors its code promises. No network, no disk.

`Session.run` promises to raise nothing that a peer can cause; `examine` answers with a verdict whatever the bytes;
`read_header` raises SeriesError and nothing else. Whatever else leaves a target is a finding.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from rtseg_daemon.config.file import Config
from rtseg_daemon.ct.headers import read_header
from rtseg_daemon.daemon.receiver import limits_of
from rtseg_daemon.dicom.contexts import supported_contexts
from rtseg_daemon.dicom.dimse import Command, Status, decode_command, encode_response
from rtseg_daemon.dicom.part10 import file_head
from rtseg_daemon.dicom.wire import PeerFault, PeerLimits, Wire
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.ledger.states import Ending
from rtseg_daemon.receive.callers import Callers
from rtseg_daemon.receive.door import Door
from rtseg_daemon.receive.examine import Examined, examine
from rtseg_daemon.receive.intake import Intake
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.receive.session import Reception, Session

SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless)
LARGEST_OBJECT = 2**20


class Said:
    """A socket whose peer says `data` and then no more, and hears whatever it is told."""

    def __init__(self, data: bytes) -> None:
        self.left = memoryview(data)
        self.heard = bytearray()

    def recv_into(self, buffer: memoryview, _size: int = 0, _flags: int = 0) -> int:
        count = min(len(buffer), len(self.left))
        buffer[:count] = self.left[:count]
        self.left = self.left[count:]
        return count

    def sendall(self, data: bytes) -> None:
        self.heard += data

    def shutdown(self, _how: int) -> None: ...

    def close(self) -> None: ...


class Judge(Intake):
    """Judges objects as the receiver does, and keeps none."""

    def __init__(self, limits: PeerLimits) -> None:
        self.limits = limits

    def take(
        self, sender: Sender, command: Command, sop_class: str, transfer_syntax: str, data: Iterable[memoryview]
    ) -> Status:
        whole = bytearray()
        for part in data:
            whole += part
            if len(whole) > self.limits.object_bytes:
                raise PeerFault("an object larger than allowed")
        found = examine(memoryview(whole), transfer_syntax, sop_class, command.text(0x1000))
        return found if isinstance(found, Status) else Status(0)

    def end(self, sender: Sender, ending: Ending) -> bool:
        return True


def reception() -> Reception:
    limits = PeerLimits(**{**vars(limits_of(Config())), "object_bytes": LARGEST_OBJECT})
    return Reception(Callers("RTSEG", ()), Door(4, 4), Judge(limits), limits, supported_contexts(True), event_report)


def event_report(command: Command, data: bytes, syntax: str) -> Status:
    return Status(0)


HOUSE = reception()


def association(data: bytes) -> None:
    """Everything a peer may say from the first byte to the last: PDUs, negotiation, command sets, data sets."""
    sock = Said(data)
    wire = Wire(sock, HOUSE.limits)  # type: ignore[arg-type]
    HOUSE.door.arrive(wire)
    try:
        Session(HOUSE, wire, "127.0.0.1").run()
    finally:
        HOUSE.door.leave(wire)
    assert len(wire._body) <= max(HOUSE.limits.request_bytes, HOUSE.limits.pdu_bytes)


def command_set(data: bytes) -> None:
    """A command set and the answer to it."""
    with contextlib.suppress(PeerFault):
        assert len(encode_response(decode_command(data), Status(0xC000, "why"))) < len(data) + 200


def data_set(data: bytes) -> None:
    """A C-STORE's data set; the first byte chooses the transfer syntax."""
    if not data:
        return
    syntax = SYNTAXES[data[0] % len(SYNTAXES)]
    found = examine(memoryview(data)[1:], syntax, CTImageStorage, "1.2.3")
    assert isinstance(found, Examined | Status)


def stored_file(data: bytes) -> None:
    """A file as the worker reads it from the storage; the first byte chooses the transfer syntax."""
    if not data:
        return
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        file.write(file_head(CTImageStorage, "1.2.3", SYNTAXES[data[0] % len(SYNTAXES)]) + data[1:])
        file.flush()
        with contextlib.suppress(SeriesError):
            read_header(Path(file.name))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (association, command_set, data_set, stored_file)
}
