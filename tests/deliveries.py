"""What a test of delivery needs: a ledger with jobs whose structure sets are stored, and their couriers."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from sqlalchemy import Engine

from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.deliver.courier import Courier
from rtseg_daemon.dicom.association import Waits
from rtseg_daemon.ledger import jobs, views
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.storage import Layout
from tests.arrivals import receive
from tests.synthetic import uid
from tests.unit.ledger.test_jobs import arrival
from tests.world import Tps, wait_for, write_config

WAITS = Waits(connect=1.0, associate=1.0, answer=1.0)


def structure_set(number: int) -> Dataset:
    """The smallest RTSTRUCT that a planning system takes, with two ROIs; Orthanc asks for study and series."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", uid("rtstruct", number)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("study", number), uid("series", number)
    ds.PatientID, ds.Modality = "P", "RTSTRUCT"
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    for roi, name in enumerate(("Brainstem", "SpinalCord"), 1):
        for sequence, key in (
            (ds.StructureSetROISequence, "ROINumber"),
            (ds.ROIContourSequence, "ReferencedROINumber"),
            (ds.RTROIObservationsSequence, "ReferencedROINumber"),
        ):
            sequence.append(Dataset())
            setattr(sequence[-1], key, roi)
        ds.StructureSetROISequence[-1].ROIName = name
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class World:
    """A ledger with SEGMENTED jobs, and couriers for its destinations."""

    def __init__(self, ledger: Engine, folder: Path, tps: Tps, **destination: Any) -> None:
        peer = {"name": "tps", "ae_title": "TPS", "host": "127.0.0.1", "port": tps.port} | destination
        self.config: Config = load_config(write_config(folder, tps.port, destinations=[peer]))
        self.ledger, self.tps = ledger, tps
        self.layout = Layout(self.config.storage.directory)
        self.layout.create()

    def job(self, number: int = 1, destinations: tuple[str, ...] = ("tps",), files: list[Path] | None = None) -> int:
        """A SEGMENTED job whose structure set is stored; `files` are the CT it is about."""
        with writing(self.ledger) as session:
            for k, path in enumerate(files or [Path("none.dcm")]):
                ds = dcmread(path) if files else Dataset()
                facts = {"path": str(path), "series_instance_uid": f"1.3.{number}"}
                facts |= {"sop_instance_uid": str(ds.SOPInstanceUID), "sha256": digest(path)} if files else {}
                recorded = receive(session, arrival(100 * number + k, **facts))
            series = recorded.series_id
            job = jobs.create_job(session, series, last_instance_id(session, series), "tiny", "all")
            jobs.claim_job(session, "w")
            path = self.layout.result(job.id) / "RTSTRUCT.dcm"
            path.parent.mkdir()
            structure_set(job.id).save_as(path, enforce_file_format=True)
            outcome = jobs.Outcome("digest", [], rtstruct_path=self.layout.relative(path), rtstruct_sha256=digest(path))
            jobs.finish_segmentation(session, Lease(job.id, "w", 1), outcome, destinations)
            return job.id

    @contextmanager
    def couriers(self, waits: Waits = WAITS) -> Iterator[None]:
        """A courier for each destination; none of them may hang when it is told to stop."""
        stop = threading.Event()
        threads = [Courier(self.ledger, self.config, d, stop, waits) for d in self.config.destinations]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
            assert not any(thread.is_alive() for thread in threads), "a courier hangs"

    def shape(self, job_id: int) -> dict[str, Any]:
        with reading(self.ledger) as session:
            return views.job_detail(views.find_job(session, job_id), self.layout.shown)

    def delivery(self, job_id: int = 1) -> dict[str, Any]:
        found: dict[str, Any] = self.shape(job_id)["deliveries"][0]
        return found

    def until(self, condition: Callable[[], bool], seconds: float = 15) -> None:
        wait_for(condition, seconds, lambda: str(self.shape(1)))

    def until_state(self, state: str, job_id: int = 1, seconds: float = 15) -> None:
        self.until(lambda: self.shape(job_id)["state"] == state, seconds)
