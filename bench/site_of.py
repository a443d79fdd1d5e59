"""One site of the benchmark of the ledger: a database, and what its daemon does with it, step by step.

Every step goes through the daemon's own functions. It returns the seconds that these took.
"""

import hashlib
import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from past import IMAGES, flags, organs
from sqlalchemy import update

from rtseg_daemon.assemble.completeness import COMPLETE
from rtseg_daemon.assemble.look import look
from rtseg_daemon.assemble.plan import Plan
from rtseg_daemon.assemble.quiet_clock import QuietClock
from rtseg_daemon.assemble.sweep import carry_out, sweep
from rtseg_daemon.config.file import Config
from rtseg_daemon.dicom.wire import PeerLimits
from rtseg_daemon.gates.verdict import PASS
from rtseg_daemon.ledger import deliveries, jobs
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.leases import lease_of
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.states import Ending
from rtseg_daemon.receive.examine import Examined
from rtseg_daemon.receive.group_commit import GroupCommit
from rtseg_daemon.receive.intake import Intake
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep.retention import remove_old

DAY = 86400.0
ROUTE, BUNDLE, CANDIDATE = "head-neck", "han-oar", "han-oar@2.0"
DESTINATIONS = ("pacs", "tps")
BEATS = 6
"""How often a worker shows its progress in one job."""


class Written:
    """Stands for an object's file: what the ledger is told of it. No file is written."""

    size = 526_000
    kept = False
    is_placed = True

    def __init__(self, sha256: str) -> None:
        self.sha256 = sha256

    def finish(self) -> None:
        """It would be flushed here."""


class Names:
    """Stands for the folder of received files: names, and nothing under them."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def place(self, written: Written, quarantine: bool) -> str:
        return f"{'quarantine' if quarantine else 'series'}/2026-01-31/{written.sha256}.dcm"


class Site:
    """A ledger at work. `clock` begins anew for each look of the sweep, so that no series is closed by silence."""

    def __init__(self, name: str, url: str, folder: Path, seed: int, images: int = IMAGES) -> None:
        self.name = name
        self.engine = open_ledger(url)
        peers = [{"name": one, "ae_title": one.upper(), "host": "127.0.0.1", "port": 1} for one in DESTINATIONS]
        route = {"name": ROUTE, "match": {}, "bundle": [BUNDLE], "destinations": list(DESTINATIONS)}
        sections = {
            "storage": {"directory": folder},
            "database": {"url": url},
            "destinations": peers,
            "routes": [route],
        }
        self.config = Config.model_validate(sections)
        self.layout = Layout(folder)
        self.layout.create()
        self.chance = random.Random(seed)
        self.numbers = itertools.count(1)
        self.commits = GroupCommit(self.engine, lambda: None)
        self.commits.start()
        self.intake = Intake(Names(self.layout), self.commits, PeerLimits(), 0.0)  # type: ignore[arg-type]
        self.series_id = self.job_id = 0
        self.count = images

    def close(self) -> None:
        self.commits.stop()
        self.engine.dispose()

    def images(self) -> Iterator[tuple[Written, Examined]]:
        """A series that was never here."""
        uid = f"1.3.12.2.1107.5.1.4.{self.chance.randrange(10**9)}.{next(self.numbers)}"
        whose = hashlib.sha256(uid.encode()).hexdigest()
        for k in range(1, self.count + 1):
            own = hashlib.sha256(f"{uid} {k}".encode()).hexdigest()
            facts: dict[str, Any] = {"position": [-250.0, -250.0, k * 2.0], "orientation": [1.0, 0, 0, 0, 1.0, 0]}
            facts |= {"image_type": ["ORIGINAL", "PRIMARY", "AXIAL"], "instance": k, "thickness": 2.0, "scanner": "CT1"}
            names = (f"{uid}.2.{k}", uid, f"{uid}.1", f"P{uid[-8:]}")
            rest = ("CT", "HEAD", "H/N 2.0 mm", whose, whose, own, facts)
            yield Written(own), Examined("1.2.840.10008.5.1.4.1.1.2", *names, *rest)

    # --- what is done for one case, in this order --------------------------------------------------------------------

    def arrival(self) -> float:
        """A whole series over one association, each committed before it is answered."""
        sender, images = Sender("CT1", "10.20.0.14"), list(self.images())
        with timed() as took:
            for written, found in images:
                self.intake._enter(sender, written, found)  # type: ignore[arg-type]
            self.intake.end(sender, Ending.RELEASED)
        (self.series_id,) = sender.brought
        return took()

    def sweep(self) -> float:
        """The sweep looks at the one series that is open."""
        with timed() as took:
            sweep(self.engine, self.config, time.time(), QuietClock())
        return took()

    def closing(self) -> float:
        """The sweep's last look at a series: it is complete, and its job is made."""
        with timed() as took:
            with reading(self.engine) as session:
                found = look(session, session.get_one(Series, self.series_id), self.config, QuietClock())
            with writing(self.engine) as session:
                carry_out(session, found, Plan(COMPLETE, jobs=(BUNDLE,)), {BUNDLE: PASS}, time.time())
        return took()

    def job(self) -> float:
        """From the claim to SEGMENTED, with what a worker writes between."""
        outcome = jobs.Outcome(
            "digest-4", [], organs(3), flags(3), {"infer": 6.8}, "results/1/RTSTRUCT.dcm", "2.25.1", ""
        )
        with timed() as took:
            with writing(self.engine) as session:
                claimed = jobs.claim_job(session, "worker-0@ct-1/4711-9f3a1c")
                assert claimed is not None
                lease = lease_of(claimed)
            for _ in range(BEATS):
                with writing(self.engine) as session:
                    jobs.heartbeat(session, lease, "infer")
            with writing(self.engine) as session:
                jobs.finish_segmentation(session, lease, outcome, DESTINATIONS)
        self.job_id = lease.job_id
        return took()

    def delivery(self) -> float:
        """Both couriers find what is due, begin, and note that it was sent."""
        with timed() as took:
            for destination in DESTINATIONS:
                with reading(self.engine) as session:
                    (due,) = deliveries.due_deliveries(session, destination, time.time(), 3600.0)
                with writing(self.engine) as session:
                    deliveries.begin_delivery(session, due.id)
                with writing(self.engine) as session:
                    deliveries.record_sent(session, due.id, 0, "stored")
        return took()

    def retention(self) -> float:
        """A pass of retention that finds one old series and removes its images."""
        old = time.time() - (self.config.storage.keep_days + 1) * DAY
        with writing(self.engine) as session:
            session.execute(update(Series).where(Series.id == self.series_id).values(last_received_at=old))
            session.execute(update(Job).where(Job.id == self.job_id).values(updated_at=old))
        with timed() as took:
            gone = remove_old(self.engine, self.layout, self.config.storage.keep_days * DAY, time.time())
        assert gone == 1
        return took()


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """Gives the seconds that the block took."""
    began = time.perf_counter()
    end: list[float] = []
    yield lambda: end[0] - began
    end.append(time.perf_counter())
