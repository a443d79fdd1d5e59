"""Import of folders laid out as in the TotalSegmentator dataset: `case/ct.nii.gz`, `case/segmentations/*.nii.gz`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from rtseg_daemon.anatomy.called import NameTable
from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.ct.preconditions import ALIGNED
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case, make_case, silent
from rtseg_training.sets.patients import Person
from rtseg_training.sets.report import ImportReport
from rtseg_training.sets.source import Rules, Source

MOST_KEPT = 32
"""With more masks than this in a case, those that the table does not know are left out."""


def find_cases(root: Path) -> list[Path]:
    """Folders below `root` that hold a `ct.nii.gz`, in the order of their names."""
    return sorted(path.parent for path in root.glob("*/ct.nii.gz"))


def read_image(path: Path, case: str) -> sitk.Image:
    """A NIfTI image turned to LPS axes. Raises CaseError with `case` and `path` if it cannot be read or is oblique."""
    try:
        image: sitk.Image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    except RuntimeError as error:
        skewed = "orthonormal" in str(error)
        reason = "has axes that are not at right angles; resample it first" if skewed else "cannot be read as an image"
        raise CaseError(f"case {case}: {path} {reason}") from error
    if np.abs(np.reshape(image.GetDirection(), (3, 3)) - np.eye(3)).max() > ALIGNED:
        raise CaseError(f"case {case}: {path} is oblique to the patient's axes; resample it first")
    return image


def as_volume(image: sitk.Image) -> Volume:
    x, y, z = image.GetSpacing()
    ox, oy, oz = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image), (z, y, x), (oz, oy, ox))


def chosen_masks(files: Sequence[Path], names: NameTable, say: Callable[[str], None]) -> dict[str, Path]:
    """TG-263 name to file for every name that the table knows. Others keep theirs, as long as all of them fit a case.

    The TotalSegmentator dataset has more than a hundred masks a case: there, only known names are taken.
    """
    hidden = [path for path in files if path.name.startswith(".")]
    if hidden:
        say(f"{len(hidden)} hidden files among the masks were passed over")
    stems = {path.name.removesuffix(".nii.gz"): path for path in files if path not in hidden}
    known: dict[str, Path] = {}
    for stem in sorted(stems, key=lambda stem: (names.lookup(stem) != stem, stem)):
        if (name := names.lookup(stem)) is None:
            continue
        if name in known:
            say(f"{stem!r} left out: {name} is there already")
            continue
        known[name] = stems[stem]
    unknown = {stem: path for stem, path in stems.items() if names.lookup(stem) is None}
    if len(known) + len(unknown) <= MOST_KEPT:
        return known | unknown
    say(f"{len(unknown)} masks left out whose names the table of names does not know")
    return known


def import_case(folder: Path, names: NameTable, say: Callable[[str], None] = silent) -> Case:
    """Read one case folder. Raises CaseError if CT and masks disagree in geometry. `say` takes what is odd about it."""
    name = folder.name
    ct_image = read_image(folder / "ct.nii.gz", name)
    masks: dict[str, Array] = {}
    for structure, path in chosen_masks(mask_files(folder), names, say).items():
        image = read_image(path, name)
        same = image.GetSize() == ct_image.GetSize() and np.allclose(image.GetSpacing(), ct_image.GetSpacing(), 1e-3)
        if not same or not np.allclose(image.GetOrigin(), ct_image.GetOrigin(), atol=0.1):
            raise CaseError(f"case {name}: {path} lies on another grid than the CT")
        values = sitk.GetArrayFromImage(image)
        if (labels := np.unique(values[values > 0])).size > 1:
            say(f"{path.name} left out: it is a map of {labels.size} labels; write one mask per structure")
            continue
        masks[structure] = values > 0
    return make_case(name, as_volume(ct_image), masks, say=say)


def folder_sources(
    folders: Sequence[Path], rules: Rules, report: ImportReport, given: Mapping[str, str]
) -> Iterator[Source]:  # fmt: skip
    """Every case folder. Its patient is who `given` says (case to patient), else the folder counts as a patient."""
    for folder in folders:
        masks = mask_files(folder)
        for stem in (path.name.removesuffix(".nii.gz") for path in masks if not path.name.startswith(".")):
            name = rules.names.lookup(stem)
            if name is None:
                report.unmapped[stem] += 1
            else:
                report.mapped[stem, name] += 1
        patient = given.get(folder.name, folder.name)
        say = partial(noted, report, folder.name)
        yield Source(
            folder.name,
            Person(patient),
            patient,
            "",
            (folder / "ct.nii.gz",),
            tuple(masks),
            rules.words,
            partial(import_case, folder, rules.names, say),
        )


def mask_files(folder: Path) -> list[Path]:
    """The masks of a case folder, in the order of their names."""
    return sorted((folder / "segmentations").glob("*.nii.gz"))


def noted(report: ImportReport, case: str, text: str) -> None:
    """A note about a case in the report."""
    report.notes.append(f"{case}: {text}")
