"""The files of one case, compared with the ledger: what `doctor` would say of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtseg_daemon.errors import ExchangeError, StorageError
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.storage import damage
from rtseg_daemon.stored import Files, digested, image, result


@dataclass(frozen=True)
class CaseFile:
    """One file of a case.

    Args:
        kind: what it is, in words.
        path: relative to the storage directory.
        sha256: the digest that the ledger has.
        problem: what is wrong with it and what to do, empty where nothing is.
        host: which of several hosts has it.
    """

    kind: str
    path: str
    sha256: str
    size: int | None
    problem: str = ""
    host: str = ""


def result_problem(job_id: int, path: str, what: str) -> str:
    """A structure set that is missing or altered, in the words of `doctor`."""
    return f"{path} {what}; `rtseg-daemon jobs rerun {job_id}`"


def image_problem(path: str, what: str) -> str:
    """An image that is missing or altered, in the words of `doctor`."""
    return f"{path} {what}; have the series sent again"


def result_file(files: Files, job: Job) -> CaseFile | None:
    """The structure set of a job, its digest compared. None where none was stored."""
    if job.rtstruct_path is None:
        return None
    problem, size = "", None
    try:
        ((file, digest),) = digested(files, [result(job)])
        if what := damage(file, digest):
            problem = result_problem(job.id, job.rtstruct_path, what)
        size = size_of(file)
    except (ExchangeError, StorageError) as error:
        problem = str(error)
    return CaseFile("structure set", job.rtstruct_path, job.rtstruct_sha256 or "", size, problem, job.host)


def image_files(files: Files, images: Sequence[Instance], *, thorough: bool) -> list[CaseFile]:
    """The images of a job. Without `thorough` only those of this host that are gone or of another size are found, which
    is quick."""
    looked_at = [one for one in images if thorough or files.keeps(one.host)]
    try:
        paths = files.at_hand([image(one) for one in looked_at])
    except (ExchangeError, StorageError) as error:
        return [case_file(one, "" if files.keeps(one.host) else str(error)) for one in images]
    there = {one.id: path for one, path in zip(looked_at, paths, strict=True)}
    return [case_file(one, problem_of(one, there.get(one.id), thorough)) for one in images]


def case_file(one: Instance, problem: str) -> CaseFile:
    return CaseFile("image", one.path, one.sha256, one.size, problem, one.host)


def problem_of(one: Instance, file: Path | None, thorough: bool) -> str:
    """What is wrong with an image, as far as it is looked at."""
    if file is None:
        return ""
    what = damage(file, one.sha256) if thorough else obvious_damage(file, one.size)
    return image_problem(one.path, what) if what else ""


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
