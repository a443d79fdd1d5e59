"""`doctor`: does the storage hold what the ledger says, and nothing else? `--repair` mends what is safe to mend."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select

from rtseg_daemon.config.file import Config
from rtseg_daemon.ledger.engine import database_file, reading
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.states import InstanceState, JobState
from rtseg_daemon.storage import Layout, damage

SETTLED_SECONDS = 3600.0
"""Younger files may belong to something that is being written right now."""


@dataclass(frozen=True)
class Discrepancy:
    """One thing that is not as it should be. `repaired` says whether `--repair` mended it."""

    kind: str
    subject: str
    message: str
    repaired: bool = False


def examine(engine: Engine, config: Config, *, repair: bool) -> list[Discrepancy]:
    """Everything that is wrong. With `repair`, orphaned files move to quarantine and unfinished ones are deleted.
    What is missing or altered can only be sent again. A broken ledger is all that is reported where there is one.
    """
    layout = Layout(config.storage.directory)
    findings = [*ledger_integrity(engine)]
    if findings:
        return findings
    findings += free_space(layout, config.storage.minimum_free_gb)
    findings += instances_without_file(engine, layout)
    findings += results_without_file(engine, layout)
    findings += orphans(engine, layout, repair)
    findings += leftovers(layout, repair)
    return findings


def ledger_integrity(engine: Engine) -> Iterator[Discrepancy]:
    """SQLite's own checks (pages, indices, foreign keys)."""
    file = database_file(engine.url)
    if file is None:
        return
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            pages = [line for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
            rows = connection.execute("PRAGMA foreign_key_check").fetchall()
        except sqlite3.DatabaseError as error:
            pages, rows = [str(error)], []
    for line in pages:
        yield Discrepancy("ledger", str(file), f"{line}; restore a backup")
    for table, row, parent, _ in rows:
        yield Discrepancy("ledger", table, f"row {row} refers to a missing row of {parent}")


def free_space(layout: Layout, minimum_gb: float) -> Iterator[Discrepancy]:
    """Less than `storage.minimum_free_gb`: objects are refused."""
    free = layout.free_gb()
    if free < minimum_gb:
        yield Discrepancy("disk", str(layout.directory), f"{free:.1f} of {minimum_gb:g} GB free; objects are refused")


def instances_without_file(engine: Engine, layout: Layout) -> Iterator[Discrepancy]:
    """Acknowledged objects whose file is gone or has another digest."""
    query = select(Instance.id, Instance.path, Instance.sha256).where(Instance.state != InstanceState.REMOVED)
    with reading(engine) as session:
        rows = session.execute(query).all()
    for number, path, digest in rows:
        if problem := damage(layout.directory / path, digest):
            yield Discrepancy("instance", f"instance {number}", f"{path} {problem}; have the series sent again")


def results_without_file(engine: Engine, layout: Layout) -> Iterator[Discrepancy]:
    """Structure sets that are still to be sent, and are gone or altered."""
    done = (JobState.DELIVERED, JobState.CANCELLED)
    query = select(Job.id, Job.rtstruct_path, Job.rtstruct_sha256).where(
        Job.rtstruct_path.is_not(None), Job.state.not_in(done)
    )
    with reading(engine) as session:
        rows = session.execute(query).all()
    for job_id, path, digest in rows:
        if problem := damage(layout.directory / str(path), digest or ""):
            yield Discrepancy("result", f"job {job_id}", f"{path} {problem}; `rtseg-daemon jobs rerun {job_id}`")


def orphans(engine: Engine, layout: Layout, repair: bool) -> Iterator[Discrepancy]:
    """Files that the ledger does not know. They were never acknowledged, or retention was interrupted."""
    with reading(engine) as session:
        known = set(session.scalars(select(Instance.path).where(Instance.state != InstanceState.REMOVED)))
        jobs = {str(number) for number in session.scalars(select(Job.id).where(Job.rtstruct_path.is_not(None)))}
    for file in settled_files(layout.series):
        if layout.relative(file) not in known:
            if repair:
                file.rename(layout.quarantine / f"orphan-{file.name}")
            yield Discrepancy(
                "orphan", layout.relative(file), "is not in the ledger (--repair moves it to quarantine)", repair
            )
    for folder in layout.results.iterdir():
        if folder.name not in jobs and settled(folder):
            if repair:
                shutil.rmtree(folder)
            yield Discrepancy(
                "orphan", layout.relative(folder), "belongs to no finished job (deleted by --repair)", repair
            )


def leftovers(layout: Layout, repair: bool) -> Iterator[Discrepancy]:
    """Unfinished files of a process that died."""
    parts = [path for path in layout.directory.rglob("*.part") if settled(path)]
    for path in [*settled_files(layout.incoming), *parts]:
        if repair:
            path.unlink(missing_ok=True)
        yield Discrepancy("unfinished", layout.relative(path), "was never finished (deleted by --repair)", repair)


def settled_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and settled(path))


def settled(path: Path) -> bool:
    """Not touched for an hour. What has gone since it was listed is not."""
    try:
        return abs(time.time() - path.stat().st_mtime) > SETTLED_SECONDS
    except FileNotFoundError:
        return False
