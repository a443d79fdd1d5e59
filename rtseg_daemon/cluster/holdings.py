"""What this host has for others, by the ledger: images that it received, and results of jobs that are at home here."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from rtseg_daemon.errors import LeaseLost, StorageError
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.states import InstanceState, JobState
from rtseg_daemon.storage import Layout, sync_folder
from rtseg_daemon.stored import files_beside

TAKING = (JobState.RUNNING, JobState.HELD)
ROOM_BYTES = 100_000_000
"""What stays free beside a result: the ledger's host must not fill its disk to the last byte."""


@dataclass(frozen=True)
class LedgerHoldings:
    """See `app.Holdings`. `host` is this host's name in the ledger."""

    engine: Engine
    layout: Layout
    host: str

    def find(self, kind: str, number: int) -> Path | None:
        """The file of an image, of a job's structure set or of one that came back, if this host has it."""
        with reading(self.engine) as session:
            if kind == "image":
                image = session.get(Instance, number)
                there = image is not None and image.host == self.host and image.state is not InstanceState.REMOVED
                return self.layout.directory / image.path if there and image is not None else None
            if kind == "returned":
                row = session.get(ReturnedSet, number)
                return self.layout.directory / row.path if row and row.path and row.host == self.host else None
            job = session.get(Job, number) if kind == "result" else None
            if job is None or job.host != self.host or job.rtstruct_path is None:
                return None
            return self.layout.directory / job.rtstruct_path

    def beside(self, job_id: int) -> dict[str, Path]:
        """What lies beside the structure set of a job that is at home here, by name. Empty for any other job."""
        with reading(self.engine) as session:
            job = session.get(Job, job_id)
            if job is None or job.host != self.host:
                return {}
        return files_beside(self.layout, job_id)

    def part(self, size: int) -> Path:
        """A new path on the results' disk. Raises StorageError where `size` bytes do not fit."""
        free = self.layout.free_bytes()
        if free < size + ROOM_BYTES:
            raise StorageError(
                f"the disk of storage.directory has {free / 1e9:.2f} GB free, a result needs {size / 1e9:.2f} GB; make "
                "room there"
            )
        return self.layout.results / f"{secrets.token_hex(8)}.part"

    def keep(self, job_id: int, token: int, name: str, part: Path) -> None:
        """Put a whole, synced file in its place. Raises LeaseLost where the job has gone on, or `token` is not its own.

        A job that is HELD takes the structure set that a person releases.

        The ledger lets nobody else write meanwhile, so no other worker can take the job up before the file has its
        name.
        """
        with writing(self.engine) as session:
            job = session.get(Job, job_id)
            if job is None or job.state not in TAKING or job.lease_token != token:
                raise LeaseLost(f"job {job_id} is no longer leased under claim {token}")
            folder = self.layout.result(job_id)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.rename(folder / name)
            sync_folder(folder)
