"""RTSTRUCT writers side by side: rtseg-daemon, rt-utils and plastimatch on the same CT and the same masks.

    python -m bench.rtstruct [--slices 200] [--matrix 512]

22 organs in the sizes of a head and neck, from a lens to a temporal lobe, on a CT of 512 x 512 x 200 voxels that is
written for the run. Each writer starts from masks in memory (plastimatch: from files) and the CT's folder, and ends
with the file on disk. Every file is read back by the pixel-centre rule and checked by dciodvfy.

Prints a table in Markdown.
"""

import argparse
import contextlib
import logging
import subprocess
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rt_utils import RTStructBuilder

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.bundles import Bundle, OrganClass
from rtseg_daemon.ct.series import CtSeries, load_series
from rtseg_daemon.gates.written_file import differences
from rtseg_daemon.rtstruct.reading import boxed, read_structures, structures_on
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from rtseg_daemon.work.convert import write_mask
from tests.synthetic import write_series

ORGANS: dict[str, tuple[float, float, float]] = {
    "Lens": (4, 3, 4), "Eye": (12, 12, 12), "OpticNrv": (4, 20, 4), "Lobe_Temporal": (24, 30, 18),
    "Parotid": (28, 18, 12), "Ear_Internal": (7, 7, 6), "Ear_Middle": (8, 8, 7), "Joint_TM": (8, 7, 9),
    "Mandible": (20, 30, 8),
}  # fmt: skip
"""Half axes (z, y, x) in mm of the paired organs."""

MIDDLE: dict[str, tuple[float, float, float]] = {
    "OpticChiasm": (3, 6, 10), "Pituitary": (5, 5, 7), "Brainstem": (28, 14, 15), "SpinalCord": (90, 6, 7),
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One writer's file; seconds to read the CT and to write the structure set (plastimatch: both in one)."""

    writer: str
    load_s: float
    write_s: float
    path: Path


def organs_of(volume: Volume) -> list[Organ]:
    """Ellipsoids with a bumpy surface, so that outlines are neither smooth nor convex."""
    rng = np.random.default_rng(4)
    sizes = {f"{name}_{side}": axes for name, axes in ORGANS.items() for side in "LR"} | MIDDLE
    organs = []
    for number, (name, half) in enumerate(sizes.items()):
        place = np.array([0.15 + 0.7 * (number % 7) / 6, 0.3 + 0.4 * (number % 5) / 4, 0.25 + 0.5 * (number % 4) / 3])
        centre = place * (np.array(volume.shape) - 1) * volume.spacing_mm
        organs.append(boxed(name, ellipsoid(volume, centre, half, rng), volume))
    return organs


def ellipsoid(
    volume: Volume, centre: NDArray[np.float64], half: tuple[float, float, float], rng: np.random.Generator
) -> NDArray[np.bool_]:
    axes = [
        (np.arange(n) * s - c) / h for n, s, c, h in zip(volume.shape, volume.spacing_mm, centre, half, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    phase = rng.uniform(0, 6.28, 3)
    bumps = 0.12 * np.sin(4 * np.arctan2(y, x) + phase[0]) + 0.06 * np.sin(9 * np.arctan2(y, x) + 5 * z + phase[1])
    return np.asarray(z**2 + y**2 + x**2 < (1 + bumps) ** 2)


def ours(ct: list[Path], organs: list[Organ], out: Path) -> Result:
    classes = [OrganClass(name=organ.name) for organ in organs]
    bundle = Bundle(
        format=1, name="bench", version="1", intended_use="research", description="", family="", arguments={},
        classes=classes, members=[], spacing_mm=(1, 1, 1), window=(1, 1, 1), extent_mm=(1, 1, 1),
    )  # fmt: skip
    start = time.perf_counter()
    series = load_series(ct)
    loaded = time.perf_counter()
    write_dataset(build_rtstruct(series, organs, [bundle], derive_identity(series, "bench", 1)), out)
    return Result("rtseg-daemon", loaded - start, time.perf_counter() - loaded, out)


def rt_utils(folder: Path, organs: list[Organ], volume: Volume, out: Path) -> Result:
    masks = {organ.name: np.moveaxis(full(organ, volume), 0, 2) for organ in organs}
    start = time.perf_counter()
    structure_set = RTStructBuilder.create_new(dicom_series_path=str(folder))
    loaded = time.perf_counter()
    for name, mask in masks.items():
        structure_set.add_roi(mask=mask, name=name)
    with contextlib.redirect_stdout(None):
        structure_set.save(str(out))
    return Result("rt-utils", loaded - start, time.perf_counter() - loaded, out)


def plastimatch(folder: Path, masks: Path, out: Path) -> Result:
    command = ["plastimatch", "convert", "--input-prefix", masks, "--referenced-ct", folder, "--output-dicom", out]
    start = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return Result("plastimatch", 0.0, time.perf_counter() - start, next(out.glob("*.dcm")))


def full(organ: Organ, volume: Volume) -> NDArray[np.bool_]:
    mask = np.zeros(volume.shape, bool)
    if organ.box is not None and organ.mask is not None:
        mask[organ.box.slices] = organ.mask
    return mask


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))


def row(result: Result, first: Result, series: CtSeries, organs: list[Organ]) -> str:
    """One line of the table: time, size, Dice against the masks, errors."""
    found = {organ.name: organ for organ in structures_on(series, read_structures(result.path))[0]}
    scores = {o.name: dice(full(o, series.volume), full(found[o.name], series.volume)) for o in organs}
    worst = min(scores, key=lambda name: scores[name])
    points = sum(len(c) for s in read_structures(result.path) for c in s.contours)
    done = subprocess.run(["dciodvfy", result.path], capture_output=True, text=True, errors="replace")
    errors = sum(line.startswith("Error") for line in (done.stdout + done.stderr).splitlines())
    return (
        f"| {result.writer} | {result.load_s:.2f} | {result.write_s:.2f} | {result.write_s / first.write_s:.1f} | "
        f"{result.path.stat().st_size / 1e6:.2f} | {points:,} | {np.mean(list(scores.values())):.3f} | "
        f"{scores[worst]:.3f} ({worst}) | {errors:,} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--matrix", type=int, default=512)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    shape = (options.slices, options.matrix, options.matrix)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ct = write_series(folder / "ct", Volume(np.zeros(shape, np.int16), (1.5, 0.9, 0.9), (-150.0, -230.0, -230.0)))
        series = load_series(ct)
        organs = organs_of(series.volume)
        (folder / "masks").mkdir()
        for organ in organs:
            write_mask(folder / "masks" / f"{organ.name}.nrrd", organ, series)
        results = [
            ours(ct, organs, folder / "ours.dcm"),
            rt_utils(folder / "ct", organs, series.volume, folder / "rt-utils.dcm"),
            plastimatch(folder / "ct", folder / "masks", folder / "pm"),
        ]
        print(
            "| writer | read CT, s | write, s | times ours | MB | points | mean Dice | lowest Dice | dciodvfy errors |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for result in results:
            print(row(result, results[0], series, organs))
        start = time.perf_counter()
        assert differences(results[0].path, series, organs) == []
        print(f"\nread-back gate: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
