"""Prepared cases made once and kept on disk, for every run, process and device that wants the same.

A file is found by what decides about it: the case's content, what of it is annotated, the recipe's grid and classes,
and the program's version. It appears whole or not at all. Whoever makes one holds a lock on its unfinished file, which
the system gives back when that process dies. So two makers wait for each other, and a killed one hinders nobody.
"""

import fcntl
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from rtseg_daemon.one_thread import one_thread
from rtseg_daemon.segment.engines.memory import GIB, available_bytes
from rtseg_training.errors import CaseError
from rtseg_training.learn.prepared import TrainingCase, prepare
from rtseg_training.learn.recipe import Recipe
from rtseg_training.learn.stored import OnDisk, read_stored, write_stored
from rtseg_training.sets.joined import Listed

FORMAT = 1
DECIDING = ("classes", "spacing_mm", "in_plane", "extent_mm", "jitter")
"""What of a recipe decides how cases are prepared. No member may change any of it."""

FOLDER = "prepared"
"""Where the cases of a data set lie, inside its folder, unless another place is named."""

BYTES_OF_A_MAKER = 2 * GIB
"""What preparing a CT of 512 x 512 x 300 voxels takes in a process of its own."""


def place_of(one: Listed, recipe: Recipe, cache: Path | None = None) -> Path:
    """The file of a prepared case: in `cache`, or beside its data set."""
    plan = {key: getattr(recipe, key) for key in DECIDING}
    said = [one.digest, one.entry["structures"], one.entry["status"]]
    folder = digest_of([FORMAT, version("rtseg-daemon"), plan])[:16]
    return (cache or one.folder / FOLDER) / folder / f"{digest_of(said)[:32]}.case"


def digest_of(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def open_one(one: Listed, path: Path) -> OnDisk | None:
    """The prepared case in `path`, None where it was not made yet."""
    return read_stored(path, one.name, one.digest, one.patient)


def make_one(one: Listed, recipe: Recipe, path: Path) -> None:
    """Prepare a case unless somebody else has, or is about to: then wait for that.

    Raises CaseError on a full disk or one that may not be written, and for a case that cannot be prepared.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with sole_maker(path.with_suffix(".partial")) as file:
            if open_one(one, path) is None:
                write_stored(prepare(one.load(), recipe), file)
                path.with_suffix(".partial").replace(path)
    except OSError as error:
        raise CaseError(
            f"case {one.name}: {path} cannot be written ({error.strerror}); the cases that are prepared stay and are "
            "used: make room, or name a folder on another disk with --cache, and run the command again"
        ) from error


@contextmanager
def sole_maker(partial: Path) -> Iterator[BinaryIO]:
    """The unfinished file, held by this process alone, and gone at the end. Waits for another that holds it."""
    while True:
        with partial.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not is_at(file, partial):
                continue  # whoever held it has finished, and its file has another name or none
            try:
                yield file
            finally:
                if is_at(file, partial):
                    partial.unlink()
            return


def is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the open `file` is what lies at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def makers_for(missing: int, wanted: int) -> int:
    """How many processes prepare `missing` cases: those wanted, or one a core where memory has room for them."""
    if wanted:
        return min(wanted, missing)
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, available_bytes() // BYTES_OF_A_MAKER, missing // 2))


def ready_cases(
    cases: Sequence[Listed], recipe: Recipe, cache: Path | None = None, makers: int = 0,
    tick: Callable[[str], None] = lambda _name: None, rank: int = 0, world: int = 1,
) -> list[TrainingCase]:  # fmt: skip
    """Every one of `cases` prepared, from disk, in their order. Those that are missing are made by several processes.

    Args:
        makers: processes, 0: one a core, as memory allows.
        tick: called for each case that is ready.
        rank, world: this process among those that train together. Each begins with other cases.

    Raises CaseError naming the case that cannot be prepared or kept.
    """
    places = {place_of(one, recipe, cache): one for one in cases}
    missing = [(one, path) for path, one in places.items() if open_one(one, path) is None]
    for one in cases[: len(cases) - len(missing)]:
        tick(one.name)
    first = rank * len(missing) // world
    make_all(missing[first:] + missing[:first], recipe, makers_for(len(missing), makers) if missing else 0, tick)
    return [opened(one, place_of(one, recipe, cache)) for one in cases]


def make_all(missing: Sequence[tuple[Listed, Path]], recipe: Recipe, makers: int, tick: Callable[[str], None]) -> None:
    """Prepare these cases, in this process where one is enough."""
    if makers <= 1:
        for one, path in missing:
            make_one(one, recipe, path)
            tick(one.name)
        return
    with one_thread(), ProcessPoolExecutor(makers, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(make_one, one, recipe, path): one for one, path in missing}
        try:
            for done in as_completed(waiting):
                done.result()
                tick(waiting[done].name)
        except BrokenProcessPool as error:
            raise CaseError(
                "a process that prepares cases was killed, most likely for want of memory; run the command again with "
                "--makers 1: the cases that are prepared stay"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def opened(one: Listed, path: Path) -> OnDisk:
    """A prepared case that was there a moment ago. Raises CaseError where somebody has taken it away."""
    found = open_one(one, path)
    if found is None:
        raise CaseError(f"case {one.name}: {path} has gone while it was prepared; run the command again")
    return found
