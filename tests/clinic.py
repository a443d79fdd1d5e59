"""A clinic whose planning system sends structure sets back: delivered cases, and what people made of them."""

import copy
import hashlib
import io
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import Engine

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.config.file import load_config
from rtseg_daemon.ct.geometry import geometry_of
from rtseg_daemon.ct.series import CtSeries, load_series
from rtseg_daemon.feedback.looking import Desk
from rtseg_daemon.feedback.loop import Loop
from rtseg_daemon.feedback.mapping import explain
from rtseg_daemon.ledger import deliveries, jobs, returned
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet, SeriesGeometry
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.returned import Came
from rtseg_daemon.ledger.schema import Alarm, Instance
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import InstanceState, SeriesState
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from rtseg_daemon.storage import Layout
from tests.arrivals import receive
from tests.structure_sets import ball, by_a_person, organ_of, tiny_bundle
from tests.synthetic import uid, write_series
from tests.unit.ledger.test_jobs import arrival
from tests.world import write_config

VOLUME = Volume(np.zeros((8, 32, 40), np.int16), (3.0, 2.0, 2.0), (-30.0, -32.0, -40.0))
ORGANS = {"Brainstem": (3.5, 20.0, 20.0), "Parotid_L": (4.0, 14.0, 31.0), "Parotid_R": (4.0, 14.0, 9.0)}
"""Organ to the middle of a ball (z, y, x) in voxels."""
RADIUS = 4.0

Edit = Callable[[Dataset], None]


def balls(volume: Volume, organs: Sequence[str] = tuple(ORGANS)) -> list[Organ]:
    return [organ_of(name, ball(volume, ORGANS[name], RADIUS) > 0, volume) for name in organs]


class Clinic:
    """A storage with a ledger, and the work on what comes back."""

    def __init__(self, folder: Path, ledger: Engine, **sections: Any) -> None:
        callers = [{"ae_title": "TPS", "host": "127.0.0.1", "feedback": True}]
        sections.setdefault("dicom", {"port": 11112, "allowed_callers": callers})
        config = load_config(write_config(folder, 1, database={"url": str(ledger.url)}, **sections))
        self.ledger, self.folder, self.layout = ledger, folder, Layout(config.storage.directory)
        self.layout.create()
        self.loop = Loop(Desk(ledger, config))
        self.numbers = itertools.count(1)

    # --- what we did ---

    def receive(self, seed: int = 0, change: Callable[[int, Dataset], None] | None = None) -> "Case":
        """A CT series that came."""
        paths = write_series(self.layout.series / f"case{seed}", VOLUME, seed=seed, change=change)
        case = Case(self, load_series(paths))
        with writing(self.ledger) as session:
            for k, path in enumerate(paths):
                ds = dcmread(path)
                facts = {
                    "sop_instance_uid": str(ds.SOPInstanceUID),
                    "series_instance_uid": str(ds.SeriesInstanceUID),
                    "study_instance_uid": str(ds.StudyInstanceUID),
                    "patient_id": str(ds.PatientID),
                    "path": self.layout.relative(path),
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                }
                case.series_id = receive(session, arrival(1000 * seed + k, **facts)).series_id
        return case

    def deliver(self, seed: int = 0, **options: Any) -> "Case":
        """A CT that came, was contoured, and whose structure set the planning system has."""
        case = self.receive(seed, options.pop("change", None))
        case.contour(**options)
        return case

    def elsewhere(self, seed: int) -> "Case":
        """A case that others contoured: nothing of it is known here."""
        case = Case(self, load_series(write_series(self.folder / f"elsewhere{seed}", VOLUME, seed=seed)))
        bundle = tiny_bundle(*ORGANS)
        case.ours = build_rtstruct(case.series, balls(VOLUME), [bundle], derive_identity(case.series, bundle.digest, 1))
        return case

    def remove_images(self) -> None:
        """As retention does."""
        with writing(self.ledger) as session:
            for instance in session.query(Instance):
                (self.layout.directory / instance.path).unlink()
                instance.state = InstanceState.REMOVED

    # --- what comes back ---

    def came(self, dataset: Dataset | bytes, came_by: str = "store", at: float | None = None) -> int:
        """Enter what came as the receiver does; returns the number of the set."""
        content = dataset if isinstance(dataset, bytes) else encoded(dataset)
        digest = hashlib.sha256(content).hexdigest()
        path = self.layout.returned / "2026-01-01" / f"{digest}.dcm"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        named = dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=[], force=True)
        sop = str(named.file_meta.MediaStorageSOPInstanceUID)
        came = Came(sop, digest, self.layout.relative(path), len(content), "TPS", "127.0.0.1", came_by)
        with writing(self.ledger) as session:
            known = returned.known(session, sop, digest)
            if known is not None:
                returned.note_again(session, known, came)
                return known.id
            return returned.enter(session, came, at=at).id

    def work(self) -> None:
        """Until nothing is left to be done now."""
        self.loop.looked_at = float("-inf")
        while self.loop.turn():
            pass

    def comes_back(self, dataset: Dataset | bytes, **options: Any) -> ReturnedSet:
        """It came, and was worked on."""
        number = self.came(dataset, **options)
        self.work()
        return self.row(number)

    def explain(self, name: str, organ: str | None) -> None:
        """A person says what a name means, and what follows from it is done."""
        with writing(self.ledger) as session:
            explain(session, name, organ, "anna", "she drew it")
        self.work()

    def row(self, number: int) -> ReturnedSet:
        with reading(self.ledger) as session:
            row = session.get_one(ReturnedSet, number)
            row.rois, row.job  # noqa: B018 - loaded while the session is there
            return row

    def rois(self, number: int) -> dict[str, ReturnedRoi]:
        return {roi.name: roi for roi in self.row(number).rois}

    def alarms(self) -> list[str]:
        with reading(self.ledger) as session:
            return [alarm.message for alarm in session.query(Alarm).order_by(Alarm.id)]


class Case:
    """One CT series of the clinic and our structure set of it."""

    def __init__(self, clinic: Clinic, series: CtSeries) -> None:
        self.clinic, self.series = clinic, series
        self.series_id = 0
        self.job_id = 0
        self.ours = Dataset()

    def contour(
        self,
        organs: Sequence[str] = tuple(ORGANS),
        delivered: bool = True,
        bundle: str = "tiny",
        geometry: bool = True,
        run: int = 1,
    ) -> int:
        """A job with its structure set, which the planning system has if `delivered`."""
        found = balls(self.series.volume, organs)
        made_of = tiny_bundle(*organs, name=bundle)
        self.ours = build_rtstruct(self.series, found, [made_of], derive_identity(self.series, made_of.digest, run))
        with writing(self.clinic.ledger) as session:
            last = last_instance_id(session, self.series_id)
            job = jobs.create_job(session, self.series_id, last, bundle, "all", run=run)
            jobs.claim_job(session, "w")
            path = self.clinic.layout.result(job.id) / "RTSTRUCT.dcm"
            path.parent.mkdir()
            write_dataset(self.ours, path)
            rois = [{"name": one.name, "volume_ml": one.volume_ml, "flag": "OK", "comment": ""} for one in found]
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            outcome = jobs.Outcome(
                "d" * 64,
                [],
                rois,
                {one.name: "OK" for one in found},
                {},
                self.clinic.layout.relative(path),
                str(self.ours.SOPInstanceUID),
                digest,
            )
            jobs.finish_segmentation(session, Lease(job.id, "w", 1), outcome, ["tps"])
            if job.series.state is SeriesState.OPEN:
                move_series(session, self.series_id, SeriesState.COMPLETE, what="complete")
            if geometry:
                document = geometry_of(self.series).document()
                session.merge(SeriesGeometry(series_id=self.series_id, last_instance_id=last, geometry=document))
            self.job_id = job.id
        if delivered:
            self.arrive()
        return self.job_id

    def arrive(self, at: float | None = None) -> None:
        """The planning system has our structure set, and we know it."""
        with writing(self.clinic.ledger) as session:
            job = session.get_one(jobs.Job, self.job_id)
            for delivery in job.deliveries:
                deliveries.begin_delivery(session, delivery.id)
                deliveries.record_sent(session, delivery.id, 0, None, at=at)

    def edited(self, *edits: Edit, approval: str = "APPROVED", fresh: bool = True) -> Dataset:
        """Our structure set as a person saved it in the planning system."""
        dataset = copy.deepcopy(self.ours)
        by_a_person(dataset, approval)
        if fresh:
            number = next(self.clinic.numbers)
            dataset.SOPInstanceUID, dataset.SeriesInstanceUID = uid("returned", number), uid("returned series", number)
        dataset.StructureSetDate, dataset.StructureSetTime = time.strftime("%Y%m%d %H%M%S").split()
        for edit in edits:
            edit(dataset)
        return dataset


def encoded(dataset: Dataset) -> bytes:
    """The file that the receiver makes of it."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.file_meta = meta
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


# --- what people do to contours ---


def renamed(**names: str) -> Edit:
    """Other names, by the name that we sent."""

    def edit(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 192"
        for roi in dataset.StructureSetROISequence:
            roi.ROIName = names.get(str(roi.ROIName), roi.ROIName)

    return edit


def without(*names: str) -> Edit:
    """ROIs taken out."""

    def edit(dataset: Dataset) -> None:
        gone = {int(roi.ROINumber) for roi in dataset.StructureSetROISequence if str(roi.ROIName) in names}
        for keyword, number in (
            ("StructureSetROISequence", "ROINumber"),
            ("ROIContourSequence", "ReferencedROINumber"),
            ("RTROIObservationsSequence", "ReferencedROINumber"),
        ):
            kept = [item for item in dataset[keyword].value if int(getattr(item, number)) not in gone]
            setattr(dataset, keyword, kept)

    return edit


def moved(name: str = "", x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Edit:
    """An ROI (or every one) shifted, in mm."""

    def edit(dataset: Dataset) -> None:
        numbers = {int(roi.ROINumber) for roi in dataset.StructureSetROISequence if name in ("", str(roi.ROIName))}
        for item in dataset.ROIContourSequence:
            for contour in item.get("ContourSequence", []) if int(item.ReferencedROINumber) in numbers else []:
                points = np.asarray(contour.ContourData, float).reshape(-1, 3) + np.array([x, y, z])
                contour.ContourData = [f"{value:.2f}" for value in points.ravel()]

    return edit


def saying(**values: Any) -> Edit:
    """Other values of elements, by keyword; None takes one out."""

    def edit(dataset: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return edit


def without_references(dataset: Dataset) -> None:
    """Nothing says which images it was drawn on, but the frame of reference."""
    for frame in dataset.ReferencedFrameOfReferenceSequence:
        if "RTReferencedStudySequence" in frame:
            del frame.RTReferencedStudySequence
    for item in dataset.ROIContourSequence:
        for contour in item.get("ContourSequence", []):
            if "ContourImageSequence" in contour:
                del contour.ContourImageSequence
