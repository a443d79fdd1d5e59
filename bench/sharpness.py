"""How sharp pixels of some 4 mm are: those of a data set, and those made of a finer CT by averages and by samples.

    python bench/sharpness.py sets/train CT_DIR [--cases 20]

Inside soft tissue the median second difference of neighbouring pixels is divided by the median first difference. White
noise, where no pixel says anything of its neighbour, gives sqrt(3) = 1.73; the smoother an image, the less. A network
should meet pixels of the kind that it learned from (`in_plane` in its recipe and bundle).
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
from rtseg_training.sets.joined import listed

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.ct.series import list_series, load_series
from rtseg_daemon.segment.resample import resample, spaced_grid

SOFT_HU = (-150, 250)


def sharpness(hu: Array) -> float:
    """Median |a - 2 b + c| over median |b - c| of rows of three pixels `(z, y, x)` that lie in soft tissue."""
    a, b, c = (hu[:, :, k : hu.shape[2] - 2 + k].astype(np.float32) for k in range(3))
    soft = np.all([(x > SOFT_HU[0]) & (x < SOFT_HU[1]) for x in (a, b, c)], axis=0)
    return float(np.median(np.abs(a - 2 * b + c)[soft]) / np.median(np.abs(b - c)[soft]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data set (rtseg-train import)")
    parser.add_argument("ct", type=Path, help="a folder with one CT series of smaller pixels")
    parser.add_argument("--cases", type=int, default=20)
    options = parser.parse_args()
    cases = [one.load() for one in listed(options.data)[: options.cases]]
    found = [sharpness(case.ct.array) for case in cases]
    pixel = statistics.median(case.ct.spacing_mm[2] for case in cases)
    middle, least, most = statistics.median(found), min(found), max(found)
    print(f"{len(found)} cases, pixels of {pixel:.2f} mm: {middle:.2f} ({least:.2f} to {most:.2f})")
    (paths,) = list_series(options.ct).values()
    fine = load_series(paths, allow=frozenset({"position"})).volume
    grid = spaced_grid(fine, (fine.spacing_mm[0], pixel, pixel))
    for name, sampled in (("averaged", False), ("sampled", True)):
        coarse = resample(fine, grid, sampled=sampled).array
        print(f"{options.ct.name}, {fine.spacing_mm[2]:.2f} mm, {name}: {sharpness(coarse):.2f}")


if __name__ == "__main__":
    main()
