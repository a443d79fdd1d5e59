"""Import of folders laid out as in the TotalSegmentator dataset: `case/ct.nii.gz`, `case/segmentations/*.nii.gz`."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from rtseg_daemon.segment.volume import Array, Volume
from rtseg_training.cases import Case, make_case
from rtseg_training.errors import CaseError


def find_cases(root: Path) -> list[Path]:
    """Folders below `root` that hold a `ct.nii.gz`, in the order of their names."""
    return sorted(path.parent for path in root.glob("*/ct.nii.gz"))


def read_image(path: Path, case: str) -> sitk.Image:
    """A NIfTI image turned to LPS axes; raises CaseError naming `case` and `path` if it cannot be read."""
    try:
        image: sitk.Image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    except RuntimeError as error:
        raise CaseError(f"case {case}: {path} cannot be read as an image") from error
    return image


def as_volume(image: sitk.Image) -> Volume:
    x, y, z = image.GetSpacing()
    ox, oy, oz = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image), (z, y, x), (oz, oy, ox))


def import_case(folder: Path) -> Case:
    """Read one case folder; raises CaseError if CT and masks disagree in geometry."""
    name = folder.name
    ct_image = read_image(folder / "ct.nii.gz", name)
    masks: dict[str, Array] = {}
    for path in sorted((folder / "segmentations").glob("*.nii.gz")):
        image = read_image(path, name)
        same = image.GetSize() == ct_image.GetSize() and np.allclose(image.GetSpacing(), ct_image.GetSpacing(), 1e-3)
        if not same or not np.allclose(image.GetOrigin(), ct_image.GetOrigin(), atol=0.1):
            raise CaseError(f"case {name}: {path} lies on another grid than the CT")
        masks[path.name.removesuffix(".nii.gz")] = sitk.GetArrayFromImage(image) > 0
    return make_case(name, as_volume(ct_image), masks)
