"""Data sets that are not kept: read to their end within bounds, and told of in the log."""

from collections.abc import Iterable, Iterator

from rtseg_daemon.dicom.contexts import STRUCTURE_SETS
from rtseg_daemon.dicom.wire import PeerFault
from rtseg_daemon.logs import log
from rtseg_daemon.receive.sender import Sender

HEAD_BYTES = 64 * 1024
"""Of an object that is not kept, looked at for the series that it names."""


def tell_dropped(sender: Sender, sop_class: str, size: int) -> None:
    """A log line about an object that is accepted and not kept."""
    if sop_class == STRUCTURE_SETS:
        remedy = "say `feedback: true` at this caller in dicom.allowed_callers to keep what it sends"
        log().info("dropped a structure set", calling_ae=sender.calling_ae, size=size, remedy=remedy)
    else:
        log().info("dropped an object that was forwarded along", sop_class=sop_class, size=size)


def noted(data: Iterable[memoryview], head: bytearray) -> Iterator[memoryview]:
    """The pieces of `data`. Their first HEAD_BYTES are copied into `head`."""
    for chunk in data:
        if len(head) < HEAD_BYTES:
            head += chunk[: HEAD_BYTES - len(head)]
        yield chunk


def drain(data: Iterable[memoryview], most: int) -> int:
    """Read a data set that is not kept. Raises PeerFault beyond `most` bytes."""
    size = 0
    for chunk in data:
        size += len(chunk)
        if size > most:
            raise PeerFault(f"an object larger than {most} bytes")
    return size
