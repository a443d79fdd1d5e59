"""What a job gives to look at, as the ledger knows it: its images, its structure set, its maps, and other results."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from rtseg_daemon.config.values import JOINER
from rtseg_daemon.errors import ExchangeError, HostAway, NotShown, StorageError
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.states import InstanceState
from rtseg_daemon.ledger.views import moment
from rtseg_daemon.stored import Files, Stored, digested, image, result

FIRST_MAP, OTHER_MAP = "entropy.npz", re.compile(r"entropy-.+\.npz")
GONE = "retention has removed the images of this job; have the series sent again to see them"
NO_RESULT = "this job has no structure set: its images alone can be shown"


@dataclass(frozen=True)
class Subject:
    """One job to look at.

    Args:
        images: how many of its images are kept.
        rtstruct: its structure set, None without a result.
        host: where it is at home, of several.
        files: where its files can be read.
    """

    job_id: int
    series_id: int
    last_instance_id: int
    images: int
    bundle: str
    rtstruct: Stored | None
    host: str
    files: Files

    @property
    def ct_key(self) -> str:
        """The same for all jobs of the same images, and another one once any of them is removed."""
        return f"ct:{self.series_id}:{self.last_instance_id}:{self.images}"

    @property
    def rtstruct_key(self) -> str:
        """Of this very structure set."""
        return f"rtstruct:{self.job_id}:{self.rtstruct.sha256 if self.rtstruct else ''}"

    def map_key(self, index: int) -> str:
        """Of one of the job's maps."""
        return f"entropy:{self.job_id}:{index}"

    @property
    def keys(self) -> list[str]:
        """Of all that is shown of this job."""
        return [self.ct_key, self.rtstruct_key, *map(self.map_key, range(len(self.maps)))]

    @cached_property
    def maps(self) -> list[tuple[str, Path]]:
        """Name of the bundle and file of each entropy map: the first bundle's, then the others by name.

        Raises NotShown where the host that has them does not answer.
        """
        with from_hosts():
            found = self.files.beside(self.host, self.job_id)
        known = [(self.bundle.split(JOINER)[0], found[FIRST_MAP])] if FIRST_MAP in found else []
        others = sorted(name for name in found if OTHER_MAP.fullmatch(name))
        return known + [(name.removeprefix("entropy-").removesuffix(".npz"), found[name]) for name in others]


@contextmanager
def from_hosts() -> Iterator[None]:
    """What goes wrong on the way from another host, told to whoever looks."""
    try:
        yield
    except HostAway as error:
        raise NotShown(f"its files lie elsewhere: {error}", 503) from error
    except (ExchangeError, StorageError) as error:
        raise NotShown(str(error), 409) from error


def subject_of(engine: Engine, files: Files, job_id: int) -> Subject:
    """The job of this number. Raises NotShown where there is none, or its images are gone."""
    with reading(engine) as session:
        job = session.get(Job, job_id)
        if job is None:
            raise NotShown(f"there is no job {job_id}", 404)
        count = session.scalar(select(func.count()).where(*images_of(job))) or 0
        if not count:
            raise NotShown(GONE, 410)
        rtstruct = result(job) if job.rtstruct_path and job.rtstruct_sha256 else None
        return Subject(job_id, job.series_id, job.last_instance_id, count, job.bundle, rtstruct, job.host, files)


def images_of(job: Job | Subject) -> tuple[Any, ...]:
    """Conditions on the images that a job was made from and that are kept."""
    return (
        Instance.series_id == job.series_id,
        Instance.state == InstanceState.KEPT,
        Instance.id <= job.last_instance_id,
    )


def files_of(engine: Engine, subject: Subject) -> list[tuple[str, str]]:
    """Path and SHA-256 of every image of the job. Raises NotShown where the host that has them does not answer."""
    with reading(engine) as session:
        query = select(Instance).where(*images_of(subject)).order_by(Instance.id)
        stored = [image(one) for one in session.scalars(query)]
    with from_hosts():
        return [(str(path), digest) for path, digest in digested(subject.files, stored)]


def mark_of(paths: Iterable[str | Path]) -> str:
    """Another one as soon as one of these files is written, replaced or gone. No file is read."""
    marks = hashlib.sha256()
    for path in paths:
        try:
            found = Path(path).stat()
            marks.update(f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n".encode())
        except OSError as error:
            marks.update(f"{error.errno}\n".encode())
    return marks.hexdigest()


def digest_of_files(files: list[tuple[str, str]]) -> str:
    """One digest of all images, whatever their order."""
    return hashlib.sha256("".join(sorted(digest for _, digest in files)).encode()).hexdigest()


def other_results(engine: Engine, subject: Subject) -> list[dict[str, Any]]:
    """Further results of the same series, newest first: what can be laid beside this one."""
    with reading(engine) as session:
        return [result_shape(job) for job in results_of(session, subject.series_id) if job.id != subject.job_id]


def results_of(session: Session, series_id: int) -> list[Job]:
    """The jobs of a series that have a structure set, newest first. A shadow's is laid beside none."""
    query = select(Job).where(Job.series_id == series_id, Job.rtstruct_path.is_not(None), ~Job.shadow)
    return list(session.scalars(query.order_by(Job.id.desc())))


def result_shape(job: Job) -> dict[str, Any]:
    """One result as the viewer offers it."""
    return {
        "job": job.id,
        "bundle": job.bundle,
        "run": job.run,
        "state": str(job.state),
        "created_at": moment(job.created_at),
    }
