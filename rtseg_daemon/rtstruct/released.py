"""A stored structure set that a gate or its reception held, once a person let it go: every ROI says so."""

import hashlib
import io
from pathlib import Path

from pydicom import Dataset, dcmread

from rtseg_daemon.anatomy.called import ascii_line
from rtseg_daemon.anatomy.organ import let_go
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.rtstruct.renamed import derived_uid
from rtseg_daemon.storage import write_durably


def mark_released(rtstruct: Path, why: str) -> tuple[Path, str]:
    """A copy beside `rtstruct` whose every ROI says that a person let it go although `why` held it, and its UID.

    What may have been sent keeps its UID, so the copy has one of its own, derived from the first and the reason: marked
    again it is the same object. Raises StructureSetError where a ROI has no line to say it in, OSError where the copy
    cannot be written.
    """
    dataset = dcmread(rtstruct)
    for item in (*dataset.StructureSetROISequence, *dataset.RTROIObservationsSequence):
        mark(item, "ROIDescription" if "ROINumber" in item else "ROIObservationDescription", why)
    uid = derived_uid(str(dataset.SOPInstanceUID), "released", why)
    dataset.SOPInstanceUID = uid
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    copy = rtstruct.with_name(f"RTSTRUCT-released-{hashlib.sha256(uid.encode()).hexdigest()[:16]}.dcm")
    write_durably(copy, buffer.getvalue())
    return copy, str(uid)


def mark(item: Dataset, keyword: str, why: str) -> None:
    try:
        line = let_go(str(item.get(keyword) or ""), ascii_line(why, 512))
    except ValueError as error:
        number = item.get("ROINumber", item.get("ReferencedROINumber"))
        raise StructureSetError(f"ROI {number} of the stored structure set has no {keyword} to be marked in") from error
    setattr(item, keyword, ascii_line(line, 1024))
