"""A ledger and a storage as the receiver fills them, and the sweep with a clock that the test turns."""

from pathlib import Path

from pydicom import Dataset
from sqlalchemy import Engine

from rtseg_daemon.assemble.inquiry import Inquiry
from rtseg_daemon.assemble.quiet_clock import QuietClock
from rtseg_daemon.assemble.sweep import sweep
from rtseg_daemon.config.file import Config
from rtseg_daemon.dicom.part10 import file_head
from rtseg_daemon.ledger import associations, hosts
from rtseg_daemon.ledger.arrivals import Arrival
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Series
from rtseg_daemon.ledger.states import Ending, JobState
from rtseg_daemon.receive.arrival import arrival_of
from rtseg_daemon.receive.examine import Examined, examine
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.receive.store import ObjectStore
from rtseg_daemon.storage import Layout
from tests.arrivals import receive
from tests.faults.conftest import tiny_bundle
from tests.receiver import encoded

EXPLICIT = "1.2.840.10008.1.2.1"


def two_hosts(engine: Engine, *storages: str, address: str) -> None:
    """North and south are there. `address` is where others get their files."""
    with writing(engine) as session:
        for name, storage in zip(("north", "south"), storages, strict=True):
            hosts.register(session, name, storage=storage, version="1", address=address)


class Room:
    """A ledger and a storage into which the test puts objects as the receiver does."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        tiny_bundle(folder / "models")
        self.engine = engine
        self.store = ObjectStore(Layout(folder / "storage"))
        self.config = Config.model_validate(
            {
                "storage": {"directory": folder / "storage"},
                "models": {"directory": folder / "models"},
                "series": {"quiet_seconds": 10},
                "routes": [{"name": "r", "match": {"modality": "CT"}, "bundle": "tiny"}],
            }
        )
        self.seconds = 0.0
        self.clock = QuietClock(now=lambda: self.seconds)
        self.inquiry: Inquiry | None = None

    def put(self, images: list[Dataset], ending: Ending = Ending.RELEASED, host: str = "") -> int:
        """The number of the association that brings the images."""
        sender = Sender("PACS", "127.0.0.1")
        with writing(self.engine) as session:
            sender.association_id = associations.open_association(session, "PACS", "127.0.0.1", host=host)
            for image in images:
                receive(session, self.stored(image, sender))
            if ending is not Ending.OPEN:
                associations.end_association(session, sender.association_id, ending)
        return sender.association_id

    def stored(self, image: Dataset, sender: Sender) -> Arrival:
        raw = encoded(image)
        spool = self.store.begin(file_head(str(image.SOPClassUID), str(image.SOPInstanceUID), EXPLICIT))
        spool.write(raw)
        spool.flush()
        spool.finish()
        found = examine(memoryview(raw), EXPLICIT, str(image.SOPClassUID), str(image.SOPInstanceUID))
        assert isinstance(found, Examined)
        arrival = arrival_of(found, spool, sender)
        values = vars(arrival) | {"path": self.store.place(spool, quarantine=False)}
        return Arrival(**values | {"received_at": 1e9 + self.seconds})

    def pass_time(self, seconds: float) -> None:
        self.look()
        self.seconds += seconds
        self.look()

    def look(self) -> None:
        if self.inquiry is not None:
            self.inquiry.turn()
        sweep(self.engine, self.config, 1e9 + self.seconds, self.clock)

    def of(self, images: list[Dataset]) -> Series:
        with reading(self.engine) as session:
            found = session.query(Series).filter_by(series_instance_uid=str(images[0].SeriesInstanceUID)).one()
            list(found.jobs)  # loaded while the session is there
            return found

    def states(self, images: list[Dataset]) -> list[JobState]:
        return [job.state for job in self.of(images).jobs]
