"""The decoding process: digests of images' pixel values, one file after the other, within bounds on memory and time.

A stranger's compressed pixels can make a decoder take gigabytes or crash, so it never runs in the receiver. This
process is kept, since its start takes longer than a hundred decodings. It reads a path per line (JSON) and answers with
a line: the digest, or why there is none. It ends when nobody has asked for a while, and when its standard input ends.

    python -m rtseg_daemon.receive.pixel_digest
"""

import hashlib
import json
import resource
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rtseg_daemon.errors import SeriesError

MEMORY_BYTES = 3 * 2**30
BYTES_PER_PIXEL = 48
"""Decoding takes copies of 16, 32 and 64 bits."""
SECONDS = 20
IDLE_SECONDS = 600.0
READY, REFUSED, FAILED = "ready", "refused", "failed"
"""What is answered besides digests: it may be asked, or the pixels contradict their header, or nothing can be said."""

Decode = Callable[[Path], Any]


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    decode = decoder()
    say(READY)
    while select.select([0], [], [], IDLE_SECONDS)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            break
        allow_seconds()
        answer = answer_for(Path(json.loads(line)), decode)
        say(answer)
        if answer == FAILED:
            break  # what is left of the memory is anybody's guess
    return 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def allow_seconds() -> None:
    """Let the processor time of one file begin anew."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SECONDS, resource.RLIM_INFINITY))


def decoder() -> Decode:
    """The function that decodes a file's stored values, with all that it needs loaded."""
    # pydicom's and GDCM's decoders, in this process alone and under the bounds
    from rtseg_daemon.ct.headers import header_of
    from rtseg_daemon.ct.pixels import stored_values  # decoders, as above
    from rtseg_daemon.dicom.files import read_dataset  # decoders, as above

    def decode(path: Path) -> Any:
        dataset = read_dataset(path, pixels=True)
        header = header_of(dataset, path)
        if header.rows * header.columns * BYTES_PER_PIXEL > MEMORY_BYTES:
            raise MemoryError
        return stored_values(dataset, header)

    return decode


def answer_for(path: Path, decode: Decode) -> str:
    """SHA-256 of the values, or REFUSED, or FAILED where the reason may be this machine and not the file."""
    try:
        return hashlib.sha256(decode(path).astype("<i8").tobytes()).hexdigest()  # decoders differ in integer types
    except SeriesError as error:
        return FAILED if is_shortage(error) else REFUSED
    except (MemoryError, OSError):
        return FAILED


def is_shortage(error: BaseException | None) -> bool:
    """Whether memory or the disk was short somewhere below this error."""
    if error is None:
        return False
    short = isinstance(error, (MemoryError, OSError)) or "bad_alloc" in str(error) or "memory" in str(error).lower()
    return short or is_shortage(error.__cause__)


if __name__ == "__main__":
    sys.exit(main())
