"""DICOM trees as departments have them, and what tests change in them."""

from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom import Dataset
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case
from rtseg_training.sets.import_dicom import tree_sources
from rtseg_training.sets.names import load_names
from rtseg_training.sets.report import ImportReport
from rtseg_training.sets.source import Rules

from rtseg_daemon.ct.series import list_series

ORGANS = ("Brainstem", "Parotid_L", "Bone_Mandible")
Change = Callable[[Dataset], None]


def read(tree: Path) -> tuple[list[Case], ImportReport]:
    report, cases = ImportReport(), []
    for source in tree_sources(tree, list_series(tree), Rules(load_names()), report):
        try:
            cases.append(source.build())
        except CaseError as error:
            report.left_out.append(str(error))
    return cases, report


def change(tree: Path, how: Change, name: str = "rs.dcm", to: str = "rs.dcm") -> None:
    dataset = pydicom.dcmread(tree / name)
    how(dataset)
    dataset.save_as(tree / to)


def roi(dataset: Dataset, name: str) -> tuple[Dataset, Dataset]:
    """Name and contour items of an ROI."""
    (entry,) = (r for r in dataset.StructureSetROISequence if r.ROIName == name)
    (drawn,) = (c for c in dataset.ROIContourSequence if c.ReferencedROINumber == entry.ROINumber)
    return entry, drawn
