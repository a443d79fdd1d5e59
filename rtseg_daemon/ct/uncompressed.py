"""A compressed CT image as the same image uncompressed (PS3.5 10.1). What it states of lossy compression stays.

Decoders of strangers' pixels can crash or take gigabytes. So this is a program of its own, which a process that sends
images starts and asks (`deliver/decompressing.py`):

    python -m rtseg_daemon.ct.uncompressed

It answers each line on its standard input, `{"path": ..., "syntax": ...}`, by a line `{"length": n}` and so many bytes,
the encoded data set, or by `{"refused": why}`.
"""

import json
import resource
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import dcmread

from rtseg_daemon.ct.headers import header_of
from rtseg_daemon.ct.pixels import decompressed_cells
from rtseg_daemon.dicom.datasets import encode
from rtseg_daemon.dicom.files import read_dataset
from rtseg_daemon.dicom.quiet import quiet
from rtseg_daemon.errors import SeriesError

MEMORY_BYTES = 3 * 2**30
OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
"""Where fragments begin: of encapsulated pixel data alone."""


def uncompressed(path: Path, syntax: str) -> bytes:
    """The image's data set in an uncompressed little endian syntax. Raises SeriesError if it cannot be decoded.

    Its SOP Instance UID stays, since the values do.
    """
    parsed = read_dataset(path, pixels=True)
    header = header_of(parsed, path)
    cells = decompressed_cells(parsed, header)
    kind = np.dtype(f"<{'i' if header.signed else 'u'}{header.bits_allocated // 8}")
    bounds = np.iinfo(kind)
    if cells.size and not bounds.min <= cells.min() <= cells.max() <= bounds.max:
        raise SeriesError(f"{path.name}: its values do not fit {header.bits_allocated} bits")
    pixels = cells.astype(kind).tobytes()
    with quiet():
        dataset = dcmread(path)
        for tag in OFFSET_TABLES:
            dataset.pop(tag, None)
        dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
        dataset["PixelData"].VR = "OW"
        dataset["PixelData"].is_undefined_length = False
        return encode(dataset, syntax)


def answer(line: bytes, out: BinaryIO) -> None:
    """Answer one request."""
    head: dict[str, int | str]
    body = b""
    try:
        asked = json.loads(line)
        body = uncompressed(Path(asked["path"]), asked["syntax"])
        head = {"length": len(body)}
    except SeriesError as error:
        head = {"refused": str(error)}
    except Exception as error:  # noqa: BLE001 - a stranger's bytes; the next image must be answered too
        head = {"refused": f"it cannot be decompressed ({type(error).__name__})"}
    out.write(json.dumps(head).encode() + b"\n" + body)
    out.flush()


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin.buffer:
        answer(line, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
