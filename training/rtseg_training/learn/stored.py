"""A prepared case on disk, mapped into memory when it is looked at: hundreds of them cost no memory of their own.

One file: a line of JSON, filled up to a whole page, then the organs' voxels uint32, HU int16 and labels uint8. The
voxels stand class after class, so that a patch around an organ needs no look through the whole volume.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rtseg_daemon.anatomy.volume import Array, Triple, Volume
from rtseg_training.errors import CaseError
from rtseg_training.learn.prepared import TrainingCase

PAGE = 4096
MOST_FACTS = 16 * PAGE
"""Longer first lines are none of ours."""


@dataclass(frozen=True)
class OnDisk:
    """A case that was prepared before. See `TrainingCase`. The file is mapped anew at every look, so none stays open.

    Args:
        head: bytes before the voxels.
    """

    name: str
    digest: str
    patient: str
    path: Path
    head: int
    shape: tuple[int, int, int]
    spacing_mm: Triple
    origin_mm: Triple
    annotated: Array
    counts: Array

    @property
    def hu(self) -> Volume:
        return Volume(self._mapped(np.int16, self._listed, self.shape), self.spacing_mm, self.origin_mm)

    @property
    def labels(self) -> Array:
        return self._mapped(np.uint8, self._listed + 2 * int(np.prod(self.shape)), self.shape)

    def voxels(self, organ: int) -> Array:
        return self._mapped(np.uint32, 4 * int(self.counts[1:organ].sum()), (int(self.counts[organ]),))

    @property
    def _listed(self) -> int:
        """Bytes that the organs' voxels take."""
        return 4 * int(self.counts[1:].sum())

    def _mapped(self, dtype: type, offset: int, shape: tuple[int, ...]) -> Array:
        if not np.prod(shape):
            return np.zeros(shape, dtype)
        try:
            return np.asarray(np.memmap(self.path, dtype, "r", self.head + offset, shape))
        except (OSError, ValueError) as error:
            raise CaseError(f"case {self.name}: {self.path} cannot be read any more; run the command again") from error


def read_stored(path: Path, name: str, digest: str, patient: str) -> OnDisk | None:
    """The case in `path`, None where there is no whole one (a crash of the machine may have cut it off)."""
    try:
        with path.open("rb") as file:
            line = file.readline(MOST_FACTS)
            facts = json.loads(line)
            shape, counts = tuple(facts["shape"]), np.asarray(facts["counts"])
            head = -(-len(line) // PAGE) * PAGE
            whole = head + 4 * int(counts[1:].sum()) + 3 * int(np.prod(shape))
            if os.fstat(file.fileno()).st_size != whole:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    spacing, origin = tuple(facts["spacing_mm"]), tuple(facts["origin_mm"])
    annotated = np.asarray(facts["annotated"], bool)
    return OnDisk(name, digest, patient, path, head, shape, spacing, origin, annotated, counts)


def write_stored(case: TrainingCase, file: BinaryIO) -> None:
    """Write a prepared case from the start of `file` on, and see it on disk. Raises OSError as the disk does."""
    hu, counts = case.hu, case.counts
    facts = {
        "shape": hu.shape, "spacing_mm": hu.spacing_mm, "origin_mm": hu.origin_mm,
        "annotated": case.annotated.tolist(), "counts": counts.tolist(),
    }  # fmt: skip
    line = json.dumps(facts).encode() + b"\n"
    file.seek(0)
    file.truncate()
    file.write(line.ljust(-(-len(line) // PAGE) * PAGE))
    for organ in range(1, len(counts)):
        file.write(np.ascontiguousarray(case.voxels(organ), "<u4").data)
    file.write(np.ascontiguousarray(hu.array, "<i2").data)
    file.write(np.ascontiguousarray(case.labels, np.uint8).data)
    file.flush()
    os.fsync(file.fileno())
