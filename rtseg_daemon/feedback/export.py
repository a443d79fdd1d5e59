"""`feedback export`: approved contours as a data set that `rtseg-train` reads, made and brought up to date.

The set holds no name, no date and no identifier of a patient. Which case is whose stands in the key file beside it.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rtseg_daemon.ct.geometry import geometry_of
from rtseg_daemon.dicom.files import text
from rtseg_daemon.errors import ExchangeError, FeedbackError, SeriesError, StorageError
from rtseg_daemon.feedback import deidentify
from rtseg_daemon.feedback.eligible import Wanted, consenting, wanted
from rtseg_daemon.feedback.looking import Desk
from rtseg_daemon.feedback.patient_key import NAME as KEY_NAME
from rtseg_daemon.feedback.patient_key import PatientKey, open_key
from rtseg_daemon.feedback.training_case import Entry, case_name, masks_of, read_ct, write_case
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.storage import write_durably
from rtseg_daemon.stored import Files, Stored, digested

__all__ = ["KEY_NAME", "Desk", "Exported", "export", "open_key"]

MANIFEST, REPORT = "manifest.json", "export.md"
FORMAT = 2
"""Of the manifest, as `rtseg-train` reads it."""
SOURCE = "rtseg-daemon feedback export"

DONE = """\
What was done, by the Basic Application Level Confidentiality Profile (DICOM PS3.15, annex E):

- of the CT there are values in HU and the distances of voxels. Every attribute of its files is left out, private too
- of the structure sets there are masks by TG-263 name. Names of ROIs, labels, comments and all attributes are left out
- dates and times: none. UIDs: none. A case's name is a digest of its CT's series UID
- where the scan lies in the room is left out: the first voxel lies at 0, 0, 0
- scanner (manufacturer) and patient position are kept: they say nothing of a patient
- a patient is a keyed digest. The key file lies beside the set and is never part of it
- DICOM files (--dicom): what is not on a list of kept attributes is left out, private ones too. Dates are shifted by
  a number of days of the patient's own (option 113107). UIDs are replaced, the same by the same. ROIs have TG-263 names
- pixels are as received: a face can be rebuilt from a head CT, so the set stays in the department's care
"""


@dataclass
class Exported:
    """What came of an export."""

    added: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    untouched: int = 0


def export(desk: Desk, out: Path, key: PatientKey, only: Path | None, who: str, dicom: Path | None = None) -> Exported:
    """Bring the data set in `out` up to date: cases are added, replaced where a newer set was approved, and removed
    where their contours count no more or their patient agrees no more. With `dicom`, de-identified files of the cases
    that are added go there too.

    Raises FeedbackError where `out` holds another set, ConfigError where the consent list cannot be read, OSError.
    """
    agreed = consenting(only)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    entries = earlier(out, key)
    with reading(desk.engine) as session:
        cases, left_out = wanted(session, agreed)
    done = Exported(left_out=left_out)
    now: dict[str, Entry] = {}
    for case in cases:
        name = case_name(case.series_uid)
        old = entries.get(name)
        if old is not None and old.get("state") == case.state and (out / str(old["file"])).is_file():
            now[name] = old
            done.kept.append(name)
            continue
        try:
            now[name] = made(case, desk.files, name, out, key)
            if dicom is not None:
                write_dicom(case, desk, dicom / name, key)
            done.added.append(name)
        except FeedbackError as error:
            done.left_out.append(f"series {case.series_id}: {error}")
            continue
        drawn_in = [desk.layout.shown(one.file.path, one.file.host) for one in case.contours]
        key.record(out, name, case.patient_id, case.series_uid, drawn_in)
    done.removed = sorted(entries.keys() - now.keys())
    for name in done.removed:
        key.forget(out, name)
        if dicom is not None:
            shutil.rmtree(dicom / name, ignore_errors=True)
    done.untouched = sum(len(entry["untouched"]) for entry in now.values())
    key.save()
    write_set(out, now, key, done)
    with writing(desk.engine) as session:
        detail = {"cases": len(now), "added": len(done.added), "removed": len(done.removed), "to": out.name}
        record_event(session, "feedback", None, "exported", who=who, detail=detail)
    return done


def earlier(out: Path, key: PatientKey) -> dict[str, Entry]:
    """The cases of an earlier export, by name. Raises FeedbackError for a set that something else made."""
    path = out / MANIFEST
    if not path.is_file():
        if any(out.iterdir()):
            raise FeedbackError(f"{out} is not empty and holds no data set; give an empty folder")
        return {}
    try:
        document = json.loads(path.read_text())
        source, identity, cases = document["source"], document["patients"], document["cases"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FeedbackError(f"{path} is damaged; export into an empty folder") from error
    if source != SOURCE:
        raise FeedbackError(f"{out} was made by something else ({source}); export into a folder of its own")
    if identity != key.identity:
        raise FeedbackError(
            f"{out} was exported with another key file than {key.path}; give that one by --key, or a patient in both "
            "would count as two"
        )
    return {str(entry["name"]): entry for entry in cases}


def made(case: Wanted, files: Files, name: str, out: Path, key: PatientKey) -> Entry:
    """Write one case. Raises FeedbackError where its images or contours cannot be used."""
    series = read_ct(case, files)
    masks = masks_of(case, files, geometry_of(series))
    entry = write_case(name, series.volume, masks, out)
    facts = {"position": text(series.header, "PatientPosition"), "manufacturer": text(series.header, "Manufacturer")}
    return entry | {
        "patient": key.digest(case.patient_id),
        "state": case.state,
        "approved": True,
        "untouched": [organ for organ in case.untouched if organ in masks],
        **{fact: value for fact, value in facts.items() if value},
    }


def write_dicom(case: Wanted, desk: Desk, folder: Path, key: PatientKey) -> None:
    """The images and structure sets of a case without whose they are. Raises FeedbackError for what cannot be read."""
    patient = deidentify.Patient(key, case.patient_id)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    sets: dict[Stored, dict[int, str]] = {}
    for contour in case.contours:
        sets.setdefault(contour.file, {})[contour.number] = contour.organ
    try:
        for number, (path, _) in enumerate(digested(desk.files, case.files), 1):
            deidentify.write(deidentify.image(path, patient), folder / f"CT{number:04d}.dcm")
        for number, (file, organs) in enumerate(sets.items(), 1):
            path = digested(desk.files, [file])[0][0]
            found = deidentify.structure_set(path, patient, organs, desk.largest_bytes)
            deidentify.write(found, folder / f"RS{number}.dcm")
    except (SeriesError, ExchangeError, StorageError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise FeedbackError(str(error)) from error


def write_set(out: Path, entries: dict[str, Entry], key: PatientKey, done: Exported) -> None:
    """The list and the report, then files that no entry names are deleted."""
    document = {
        "format": FORMAT, "source": SOURCE, "patients": key.identity, "cases": list(entries.values()),
        "left_out": done.left_out,
    }  # fmt: skip
    write_durably(out / MANIFEST, json.dumps(document, indent=1).encode(), mode=0o600)
    write_durably(out / REPORT, "\n".join(report(entries, done)).encode() + b"\n", mode=0o600)
    named = {str(entry["file"]) for entry in entries.values()}
    for path in out.glob("ct_*.npz"):
        if path.name not in named:
            path.unlink(missing_ok=True)


def report(entries: dict[str, Entry], done: Exported) -> Iterator[str]:
    """`export.md`."""
    yield "# Approved contours of the clinic\n"
    yield f"{len(entries)} cases. {done.untouched} contours were left as they were sent: they are marked as"
    yield "`untouched` in the manifest, may be learned from, and measure nothing.\n"
    yield DONE
    yield "Left out:\n"
    yield from (f"- {line}" for line in done.left_out or ["none"])
