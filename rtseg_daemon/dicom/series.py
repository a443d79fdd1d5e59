"""A CT series as files becomes a volume whose geometry comes from the files' own coordinates, never from their order."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from rtseg_daemon.segment.volume import Volume


@dataclass(frozen=True)
class Instance:
    """One CT image: the file that holds it and what an RTSTRUCT needs to refer to it."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class CtSeries:
    """A complete CT series.

    Args:
        volume: int16 or float32 HU; slice k of the array is `instances[k]`, inferior to superior.
        instances: one per slice.
        header: the first instance's data set without its pixels: patient, study, frame of reference, equipment.
    """

    volume: Volume
    instances: tuple[Instance, ...]
    header: Dataset

    @property
    def series_uid(self) -> str:
        return str(self.header.SeriesInstanceUID)
