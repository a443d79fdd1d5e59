"""The picture of docs/rtstruct.md: one lens and one parotid, the contours of rtseg-daemon and of rt-utils.

    python -m bench.rtstruct_picture HAN_LABELS_CASE docs/rtstruct-contours.png

HAN_LABELS_CASE is a folder of masks as NIfTI at clinical resolution (Nikolov et al., arXiv 1809.04430, CC BY 4.0). The
CT shown is painted from the masks; no patient's image is used.
"""

import argparse
import contextlib
import logging
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import SimpleITK as sitk
from matplotlib.axes import Axes
from numpy.typing import NDArray
from rt_utils import RTStructBuilder
from scipy import ndimage

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Volume, bounding_box
from rtseg_daemon.ct.series import CtSeries, load_series
from rtseg_daemon.rtstruct.reading import Structure, boxed, read_structures, structures_on
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from tests.synthetic import write_series

ORGANS = ("Lens_L", "Parotid_L")
WRITERS = ("rtseg-daemon, margin", "rtseg-daemon, mask", "rt-utils")
HU = {"Eye_L": 10, "Lens_L": 90, "OpticNrv_L": 30, "Bone_Mandible": 800, "Parotid_L": -15, "Brainstem": 35}
COLOUR = "#ff9f1c"


def masks_of(folder: Path) -> tuple[Volume, dict[str, NDArray[np.bool_]]]:
    """The masks of HU in `folder` on their grid, cut in z to the two organs shown."""
    images = {name: sitk.DICOMOrient(sitk.ReadImage(str(folder / f"{name}.nii.gz")), "LPS") for name in HU}
    masks = {name: sitk.GetArrayFromImage(image) > 0 for name, image in images.items()}
    (sx, sy, sz), (x, y, z) = images["Lens_L"].GetSpacing(), images["Lens_L"].GetOrigin()
    box = bounding_box(masks["Lens_L"] | masks["Parotid_L"])
    assert box is not None
    a, b = box.start[0], box.stop[0]
    shape = (b - a, *masks["Lens_L"].shape[1:])
    volume = Volume(np.zeros(shape, np.int16), (sz, sy, sx), (z + a * sz, y, x))
    return volume, {name: mask[a:b] for name, mask in masks.items()}


def painted(volume: Volume, masks: dict[str, NDArray[np.bool_]]) -> Volume:
    """A CT of the masks: soft tissue with the organs in it, blurred, with noise."""
    hu = np.zeros(volume.shape, np.float32)
    for name, mask in masks.items():
        hu[mask] = HU[name]
    hu = ndimage.gaussian_filter(hu, (0, 0.6, 0.6)) + np.random.default_rng(0).normal(0, 6, hu.shape)
    return volume.with_array(hu.astype(np.int16))


def draw(
    axes: Axes, ct: NDArray[np.int16], mask: NDArray[np.bool_], contours: list[NDArray[np.float64]], title: str
) -> None:
    """CT in grey, voxels of the mask with a blue tint, contour and its points in orange, around the organ."""
    rows, columns = np.nonzero(mask)
    axes.imshow(ct, cmap="gray", vmin=-80, vmax=130, interpolation="nearest")
    tint = np.zeros((*mask.shape, 4))
    tint[mask] = (0.1, 0.45, 1.0, 0.35)
    axes.imshow(tint, interpolation="nearest")
    for points in contours:
        closed = np.vstack([points, points[:1]])
        axes.plot(closed[:, 0], closed[:, 1], "-o", color=COLOUR, linewidth=1.6, markersize=2.5)
    axes.set_xlim(columns.min() - 3.5, columns.max() + 3.5)
    axes.set_ylim(rows.max() + 3.5, rows.min() - 3.5)
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])


def written(folder: Path, series: CtSeries, masks: dict[str, NDArray[np.bool_]]) -> dict[str, Path]:
    """The organs as three files: ours from a margin (the mask, smoothed), ours from the mask, theirs."""
    paths = {name: folder / f"{number}.dcm" for number, name in enumerate(WRITERS)}
    organs = [boxed(name, masks[name], series.volume) for name in ORGANS]
    smooth = [replace(organ, margin=margin_of(organ)) for organ in organs]
    for chosen, path in zip((smooth, organs), paths.values(), strict=False):
        write_dataset(build_rtstruct(series, chosen, [], derive_identity(series, path.name, 1)), path)
    other = RTStructBuilder.create_new(dicom_series_path=str(folder / "ct"))
    for name in ORGANS:
        other.add_roi(mask=np.moveaxis(masks[name], 0, 2), name=name)
    with contextlib.redirect_stdout(None):
        other.save(str(paths["rt-utils"]))
    return paths


def margin_of(organ: Organ) -> NDArray[np.float32]:
    assert organ.mask is not None
    padded = np.pad(organ.mask, 3).astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(padded, (0.3, 0.8, 0.8))[3:-3, 3:-3, 3:-3] * 2 - 1, np.float32)


def show(axes: Axes, ct: Volume, mask: NDArray[np.bool_], structure: Structure, organ: Organ, writer: str) -> None:
    """One organ in its largest slice, with the Dice of the whole organ as read back."""
    back = np.zeros(ct.shape, bool)
    if organ.box is not None and organ.mask is not None:
        back[organ.box.slices] = organ.mask
    dice = 2 * (back & mask).sum() / (back.sum() + mask.sum())
    k = int(mask.sum(axis=(1, 2)).argmax())
    z = ct.origin_mm[0] + k * ct.spacing_mm[0]
    step, start = np.array(ct.spacing_mm[:0:-1]), np.array(ct.origin_mm[:0:-1])
    lines = [(c[:, :2] - start) / step for c in structure.contours if abs(c[0, 2] - z) < 0.1]
    draw(axes, ct.array[k], mask[k], lines, f"{structure.name}, {writer}\nDice read back {dice:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    volume, masks = masks_of(options.case)
    ct = painted(volume, masks)
    figure, panels = plt.subplots(2, 3, figsize=(10.5, 8.2), height_ratios=[1, 2.9], constrained_layout=True)
    with tempfile.TemporaryDirectory() as name:
        series = load_series(write_series(Path(name) / "ct", ct))
        for column, (writer, path) in enumerate(written(Path(name), series, masks).items()):
            structures = read_structures(path)
            for row, (structure, organ) in enumerate(
                zip(structures, structures_on(series, structures)[0], strict=True)
            ):
                show(panels[row, column], ct, masks[structure.name], structure, organ, writer)
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
