"""Members' probability maps reduced at once to what calibration needs: the voxels where an organ is not excluded.

Nearly everywhere every member is sure of the background. A member's probabilities are kept, all classes of them, where
its organs together exceed `LEAST`. A fitted temperature lifts small probabilities, so those beside an organ count.
"""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.arrays import Values, on_host
from rtseg_daemon.anatomy.volume import Array
from rtseg_training.errors import CalibrationError

LEAST = 1e-4
"""Voxels are kept from this probability of any organ on."""


def reduced(p: Values) -> tuple[Array, Array]:
    """One member's probabilities `(classes, z, y, x)`: the kept voxels' flat numbers uint32 and their float16 values.

    The values are `(classes - 1, n)`: the background is what they leave to 1.
    """
    flat = on_host(p).reshape(len(p), -1)
    where = np.flatnonzero(flat[0] <= 1 - LEAST)
    return where.astype(np.uint32), flat[1:, where].astype(np.float16)


def restored(where: Array, values: Array, shape: tuple[int, ...]) -> Array:
    """The member's probabilities `(classes, z, y, x)` float32, the background's 1 where every organ was excluded."""
    out = np.zeros((len(values) + 1, int(np.prod(shape))), np.float32)
    out[1:, where] = values
    out[0] = 1.0
    out[0, where] = np.maximum(1.0 - out[1:, where].sum(axis=0), 0.0)
    return out.reshape(len(out), *shape)


class Store:
    """One case's truth and members in one file, written member by member."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, truth: Array, members: Iterable[Values]) -> Iterator[Values]:
        """Keep `truth` and every one of `members`, and pass them on. Raises CalibrationError on a full disk."""
        try:
            with zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                put(archive, "truth", truth)
                for index, p in enumerate(members):
                    for name, array in zip(("where", "values"), reduced(p), strict=True):
                        put(archive, f"{index}-{name}", array)
                    yield p
        except OSError as error:
            raise CalibrationError(
                f"{self.path} cannot be written ({error.strerror}); make room, or set TMPDIR to a larger disk"
            ) from error

    def truth(self) -> Array:
        """True labels `(z, y, x)` uint8 on the network's grid."""
        with np.load(self.path) as data:
            return np.asarray(data["truth"])

    def members(self) -> Iterator[Array]:
        """Each member's probabilities `(classes, z, y, x)` float32, one at a time."""
        with np.load(self.path) as data:
            shape = data["truth"].shape
            for index in range(sum(name.endswith("-where") for name in data.files)):
                yield restored(data[f"{index}-where"], data[f"{index}-values"], shape)


def put(archive: zipfile.ZipFile, name: str, array: Array) -> None:
    """Add an array as numpy's own `savez` would."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
