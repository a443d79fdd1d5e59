"""Stored files as the ledger knows them, and where they can be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.storage import Layout, damage

BESIDE = (".npz", ".png")
"""Ends of the names of maps and pictures."""
LARGEST_RTSTRUCT = 500_000_000
"""Bytes. The ledger knows a structure set's digest and not its size."""


@dataclass(frozen=True)
class Stored:
    """A file as the ledger knows it.

    Args:
        key: what another host asks for it by: the row that knows it, `image/12`, `result/3` or `returned/4`, or what
            lies beside a result, `beside/3/entropy.npz`.
        path: relative to the storage directory of the host that has it.
        size: in bytes, or the most that it can have.
        host: which of several hosts has it, empty where there is one.
    """

    key: str
    path: str
    sha256: str
    size: int
    host: str = ""


class Files(Protocol):
    """Where stored files can be read."""

    def at_hand(self, stored: Sequence[Stored]) -> list[Path]:
        """A path for each of these, in their order, whether or not a file is there (`check_files` tells)."""

    def beside(self, host: str, job_id: int) -> dict[str, Path]:
        """What lies beside the structure set of a job at home on `host`, by name: maps and the picture."""

    def keeps(self, host: str) -> bool:
        """Whether what belongs on `host` is kept in this process's own storage."""

    def intact(self, one: Stored) -> bool:
        """Whether the file is where the ledger says, and as it was. All of it is read anew."""

    def bring(self, host: str, job_id: int, token: int, paths: Sequence[Path]) -> None:
        """Leave files of a job's result at the host where it is at home. They are durable there when this returns."""


@dataclass(frozen=True)
class OwnFiles:
    """All files lie in one storage directory: this host's, or one that all hosts share."""

    layout: Layout

    def at_hand(self, stored: Sequence[Stored]) -> list[Path]:
        """A path for each of these, in their order."""
        return [self.layout.directory / one.path for one in stored]

    def beside(self, _host: str, job_id: int) -> dict[str, Path]:
        """What lies beside the job's structure set, by name."""
        return files_beside(self.layout, job_id)

    def keeps(self, _host: str) -> bool:
        """All of it."""
        return True

    def intact(self, one: Stored) -> bool:
        """Whether it is there, as it was."""
        return not damage(self.layout.directory / one.path, one.sha256)

    def bring(self, _host: str, _job_id: int, _token: int, _paths: Sequence[Path]) -> None:
        """It is there already."""


def files_beside(layout: Layout, job_id: int) -> dict[str, Path]:
    """What lies beside a job's structure set in this storage, by name. Nothing that is not whole yet."""
    folder = layout.result(job_id)
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name: path for path in found if path.suffix in BESIDE}


def digested(files: Files, stored: Sequence[Stored]) -> list[tuple[Path, str]]:
    """(path, SHA-256 in the ledger) of each file, for `check_files`."""
    return [(path, one.sha256) for path, one in zip(files.at_hand(stored), stored, strict=True)]


def image(one: Instance) -> Stored:
    """A received object."""
    return Stored(f"image/{one.id}", one.path, one.sha256, one.size, one.host)


def result(job: Job) -> Stored:
    """A job's structure set, which must be there."""
    assert job.rtstruct_path is not None
    return Stored(f"result/{job.id}", job.rtstruct_path, job.rtstruct_sha256 or "", LARGEST_RTSTRUCT, job.host)


def returned(row: ReturnedSet) -> Stored:
    """A structure set that came back, which must not be removed."""
    return Stored(f"returned/{row.id}", row.path, row.sha256, row.size, row.host)
