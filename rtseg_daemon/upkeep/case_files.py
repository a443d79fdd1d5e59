"""The files of one case, compared with the ledger: what `doctor` would say of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.storage import Layout, damage


@dataclass(frozen=True)
class CaseFile:
    """One file of a case.

    Args:
        kind: what it is, in words.
        path: relative to the storage directory.
        sha256: the digest that the ledger has.
        problem: what is wrong with it and what to do, empty where nothing is.
    """

    kind: str
    path: str
    sha256: str
    size: int | None
    problem: str = ""


def result_problem(job_id: int, path: str, what: str) -> str:
    """A structure set that is missing or altered, in the words of `doctor`."""
    return f"{path} {what}; `rtseg-daemon jobs rerun {job_id}`"


def image_problem(path: str, what: str) -> str:
    """An image that is missing or altered, in the words of `doctor`."""
    return f"{path} {what}; have the series sent again"


def result_file(layout: Layout, job: Job) -> CaseFile | None:
    """The structure set of a job, its digest compared. None where none was stored."""
    if job.rtstruct_path is None:
        return None
    file = layout.directory / job.rtstruct_path
    what = damage(file, job.rtstruct_sha256 or "")
    problem = result_problem(job.id, job.rtstruct_path, what) if what else ""
    return CaseFile("structure set", job.rtstruct_path, job.rtstruct_sha256 or "", size_of(file), problem)


def image_files(layout: Layout, images: Sequence[Instance], *, thorough: bool) -> list[CaseFile]:
    """The images of a job. Without `thorough` only those that are gone or of another size are found, which is quick."""
    return [image_file(layout, image, thorough) for image in images]


def image_file(layout: Layout, image: Instance, thorough: bool) -> CaseFile:
    file = layout.directory / image.path
    what = damage(file, image.sha256) if thorough else obvious_damage(file, image.size)
    return CaseFile("image", image.path, image.sha256, image.size, image_problem(image.path, what) if what else "")


def obvious_damage(file: Path, size: int) -> str:
    """What is seen of a file without reading it, in the words of `storage.damage`."""
    found = size_of(file)
    if found is None:
        return "is missing"
    return "" if found == size else "was altered (size differs)"


def size_of(file: Path) -> int | None:
    """Bytes, or None where it is not there or cannot be looked at."""
    try:
        return file.stat().st_size
    except OSError:
        return None
