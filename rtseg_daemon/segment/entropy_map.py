"""The voxel entropy of a result as a small file beside its RTSTRUCT, for pictures and later questions."""

from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.volume import Grid, Volume
from rtseg_daemon.segment.resample import interpolate

STEP_NATS = 0.01
"""Resolution of the stored entropies. 255 steps reach past ln 6, the largest that six members give."""


def save_entropy_map(entropy: Volume, path: Path) -> None:
    """Write entropies (nats, `(z, y, x)` on the network's grid) in steps of 0.01."""
    steps = np.clip(np.rint(entropy.array / STEP_NATS), 0, 255).astype(np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, steps=steps, spacing_mm=entropy.spacing_mm, origin_mm=entropy.origin_mm)


def load_entropy_map(path: Path, grid: Grid) -> Volume:
    """The entropies of `path` on `grid`, linear in between, 0 outside."""
    with np.load(path) as data:
        z, y, x = data["spacing_mm"].tolist()
        oz, oy, ox = data["origin_mm"].tolist()
        return interpolate(Volume(data["steps"] * np.float32(STEP_NATS), (z, y, x), (oz, oy, ox)), grid, 0.0)
