"""Reads DICOM for the viewer, as a program of its own: strangers' files never meet the process that serves pages.

    python -m rtseg_daemon.web.viewer.reader

It answers each line on its standard input by one line on its standard output. `{"do": "volume", ...}` writes a CT as
int16 HU into a scratch file, `{"do": "structures", ...}` contours as compressed JSON, `{"do": "entropy", ...}` a map of
entropies as compressed bytes. What cannot be shown is answered by `{"refused": why, "status": HTTP status}`.
"""

import gzip
import json
import os
import resource
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from rtseg_daemon.anatomy.volume import Array, Shape
from rtseg_daemon.ct.headers import read_header, split_images
from rtseg_daemon.ct.preconditions import RELEASABLE
from rtseg_daemon.ct.series import CtSeries, series_of
from rtseg_daemon.errors import NotShown, RtsegError, SeriesError, StorageError, StructureSetError
from rtseg_daemon.storage import check_files, damage
from rtseg_daemon.web.viewer.contours import LEVEL, written_contours
from rtseg_daemon.web.viewer.heat import geometry_of, steps_of

MEMORY_BYTES = 3 * 2**30
READY = "ready"
TOLERANCE = 0.5
"""Share of the slice distance. More than any bundle allows, and less than a missing slice."""
SEND_AGAIN = "`rtseg-daemon doctor` lists what is damaged; have the series sent again"

Answer = dict[str, Any]


class Scratch:
    """The file into which the voxels go, and the most bytes that it may hold."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        self.limit = limit

    def room(self, shape: Shape, kind: type[Any]) -> Array:
        """Memory for the voxels: the file's own where they are int16. Raises NotShown where it would be too large."""
        size = 2 * int(np.prod(shape))
        if size > self.limit:
            raise NotShown(
                f"the CT has {size / 1e6:.0f} MB, and the viewer shows {self.limit / 1e6:.0f} MB at most", 413
            )
        return self._mapped(shape) if kind is np.int16 else np.empty(shape, kind)

    def settle(self, array: Array) -> None:
        """What was read as float goes into the file, rounded."""
        if array.dtype == np.int16:
            return
        mapped = self._mapped((array.shape[0], array.shape[1], array.shape[2]))
        for plane, values in zip(mapped, array, strict=True):
            plane[...] = np.clip(np.rint(values), -32768, 32767)

    def _mapped(self, shape: Shape) -> Array:
        """The file as an array. Its blocks are there before it is mapped: a full disk must not be a signal later."""
        size = 2 * int(np.prod(shape))
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            raise NotShown(f"no room for the CT on the disk of storage.directory ({error.strerror})", 507) from error
        finally:
            os.close(descriptor)
        return np.memmap(self.path, "<i2", "r+", shape=shape)


def volume(asked: Answer) -> Answer:
    """Read a CT into its scratch file: the answer is its geometry. Raises NotShown."""
    files = [(Path(path), digest) for path, digest in asked["files"]]
    scratch = Scratch(Path(asked["target"]), int(asked["limit"]))
    try:
        with ThreadPoolExecutor(1) as beside:
            checking = beside.submit(check_files, files, SEND_AGAIN)
            try:
                series = read(files, scratch)
            finally:
                checking.result()  # a damaged file is the reason, whatever came of it
        scratch.settle(series.volume.array)
    except StorageError as error:
        raise NotShown(str(error), 409) from error
    except SeriesError as error:
        raise NotShown(f"the images make no volume: {error}", 422) from error
    return {
        "shape": series.volume.shape,
        "spacing_mm": series.volume.spacing_mm,
        "origin_mm": series.volume.origin_mm,
        "z_mm": [round(z, 4) for z in series.slice_z_mm],
    }


def read(files: Sequence[tuple[Path, str]], scratch: Scratch) -> CtSeries:
    """The CT as the pipeline reads it. What a person may let go does not keep it from being seen."""
    images = split_images([read_header(path) for path, _ in files])[0]
    return series_of(images, RELEASABLE, TOLERANCE, scratch.room)


def structures(asked: Answer) -> Answer:
    """Write the contours of a structure set to its scratch file. Raises NotShown."""
    path = Path(asked["path"])
    if found := damage(path, str(asked["sha256"])):
        raise NotShown(f"the structure set {found}; `rtseg-daemon doctor` says so too; rerun the job", 409)
    try:
        body = written_contours(path, [(str(one["name"]), Path(one["path"])) for one in asked["entropy"]])
    except StructureSetError as error:
        raise NotShown(f"{error}; rerun the job", 422) from error
    Path(asked["target"]).write_bytes(body)
    return {}


def entropy(asked: Answer) -> Answer:
    """Write an entropy map to its scratch file, compressed: the answer is its geometry. Raises NotShown."""
    found = steps_of(Path(asked["path"]))
    if found is None:
        raise NotShown(
            "the map of where the members disagree is missing or broken; rerun the job to have it again", 404
        )
    Path(asked["target"]).write_bytes(gzip.compress(found.array.tobytes(), LEVEL, mtime=0))
    return geometry_of(found)


DEEDS: dict[str, Callable[[Answer], Answer]] = {"volume": volume, "structures": structures, "entropy": entropy}


def answer(line: bytes) -> Answer:
    """What is said to one request. Never raises: the next one must be answered too."""
    try:
        asked = json.loads(line)
        return DEEDS[asked["do"]](asked)
    except NotShown as error:
        return {"refused": str(error), "status": error.status}
    except MemoryError:
        return {"refused": "there is too little memory to read it", "status": 507}
    except (RtsegError, OSError) as error:
        return {"refused": str(error), "status": 409}
    except Exception as error:  # noqa: BLE001 - a stranger's bytes
        return {"refused": f"the files cannot be read ({type(error).__name__})", "status": 422}


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(json.dumps({READY: True}), flush=True)
    for line in sys.stdin.buffer:
        print(json.dumps(answer(line)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
