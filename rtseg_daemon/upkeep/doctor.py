"""`doctor`: does the storage hold what the ledger says, and nothing else? `--repair` mends what is safe to mend."""

import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select

from rtseg_daemon.cluster.ray_line import described
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import ClusterError
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.host_views import host_shapes
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.server import doubts, facts_of, faults
from rtseg_daemon.ledger.sqlite_file import database_file
from rtseg_daemon.ledger.states import InstanceState, JobState
from rtseg_daemon.receive.unknown import unknown_files, unknown_results, unknown_returned
from rtseg_daemon.storage import Layout, damage, is_locked, layout_of
from rtseg_daemon.upkeep.case_files import image_problem, result_problem

SETTLED_SECONDS = 3600.0
"""Younger files may belong to something that is being written right now."""
YOUNG = "young"
"""The kind of finding that asks for patience alone."""


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
    layout = layout_of(config)
    findings = [*ledger_integrity(engine)]
    if findings:
        return findings
    findings += server_doubts(engine)
    findings += ray_faults(config.compute)
    findings += hosts_away(engine, config.host_name)
    findings += free_space(layout, config.storage.minimum_free_gb)
    findings += instances_without_file(engine, layout)
    findings += results_without_file(engine, layout)
    findings += returned_without_file(engine, layout)
    findings += not_compared(engine, layout)
    findings += orphans(engine, layout, repair)
    findings += leftovers(layout, repair)
    return findings


def ledger_integrity(engine: Engine) -> Iterator[Discrepancy]:
    """SQLite's own checks (pages, indices, foreign keys), or what is wrong with a PostgreSQL server."""
    file = database_file(engine.url)
    if file is None:
        facts = facts_of(engine)
        yield from (Discrepancy("ledger", facts.database, line) for line in faults(facts))
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


def server_doubts(engine: Engine) -> Iterator[Discrepancy]:
    """What should be otherwise at a PostgreSQL server, though it works."""
    if database_file(engine.url) is None:
        facts = facts_of(engine)
        yield from (Discrepancy("database", facts.database, line) for line in doubts(facts))


def hosts_away(engine: Engine, own: str) -> Iterator[Discrepancy]:
    """Other hosts of the ledger that are gone and have not said so. One that was stopped in order is none."""
    with reading(engine) as session:
        away = [one for one in host_shapes(session) if one["state"] == "away" and one["name"] != own]
    for host in away:
        message = (
            f"not seen since {host['seen_at']}: what it has received waits for it; start its daemon, or, if it is "
            f"gone for good, `rtseg-daemon drain {host['name']} --forget`"
        )
        yield Discrepancy("host", host["name"], message)


def ray_faults(compute: Compute) -> Iterator[Discrepancy]:
    """What is wrong with the Ray of `compute.cluster`."""
    if compute.cluster is not None:
        try:
            described(compute)
        except ClusterError as error:
            yield Discrepancy("ray", compute.cluster, str(error))


def free_space(layout: Layout, minimum_gb: float) -> Iterator[Discrepancy]:
    """Less than `storage.minimum_free_gb`: objects are refused."""
    free = layout.free_gb()
    if free < minimum_gb:
        yield Discrepancy("disk", str(layout.directory), f"{free:.1f} of {minimum_gb:g} GB free; objects are refused")


def instances_without_file(engine: Engine, layout: Layout) -> Iterator[Discrepancy]:
    """Acknowledged objects whose file is gone or has another digest."""
    query = select(Instance.id, Instance.path, Instance.sha256).where(
        Instance.state != InstanceState.REMOVED, Instance.host == layout.host
    )
    with reading(engine) as session:
        rows = session.execute(query).all()
    for number, path, digest in rows:
        if problem := damage(layout.directory / path, digest):
            yield Discrepancy("instance", f"instance {number}", image_problem(path, problem))


def results_without_file(engine: Engine, layout: Layout) -> Iterator[Discrepancy]:
    """Structure sets that are still to be sent or looked at, and are gone or altered.

    What retention has removed together with its images is not missing: a job for research or for a look alone is never
    DELIVERED.
    """
    done = (JobState.DELIVERED, JobState.CANCELLED)
    kept = select(Instance.id).where(
        Instance.series_id == Job.series_id, Instance.id <= Job.last_instance_id, Instance.state == InstanceState.KEPT
    )
    query = select(Job.id, Job.rtstruct_path, Job.rtstruct_sha256).where(
        Job.rtstruct_path.is_not(None), Job.state.not_in(done), Job.host == layout.host, kept.exists()
    )
    with reading(engine) as session:
        rows = session.execute(query).all()
    for job_id, path, digest in rows:
        if problem := damage(layout.directory / str(path), digest or ""):
            yield Discrepancy("result", f"job {job_id}", result_problem(job_id, str(path), problem))


def returned_without_file(engine: Engine, layout: Layout) -> Iterator[Discrepancy]:
    """Structure sets that came back, were acknowledged, and are gone or altered."""
    with reading(engine) as session:
        query = select(ReturnedSet.id, ReturnedSet.path, ReturnedSet.sha256).where(
            ReturnedSet.path != "", ReturnedSet.host == layout.host
        )
        rows = session.execute(query).all()
    for number, path, digest in rows:
        if problem := damage(layout.directory / path, digest):
            message = f"{path} {problem}; have it sent again by the planning system"
            yield Discrepancy("returned", f"returned structure set {number}", message)


def not_compared(engine: Engine, layout: Layout) -> Iterator[Discrepancy]:
    """What the next start of the daemon takes up, as after an older ledger was restored. None of it is repaired here.

    While a daemon runs it has done so, and a file that the ledger does not know may just be coming.
    """
    if layout.restored.exists():
        message = "a ledger was restored and not compared with the storage; start the daemon"
        yield Discrepancy("restored", layout.restored.name, message)
    if not is_locked(layout):
        for file in (*unknown_files(engine, layout), *unknown_returned(engine, layout)):
            message = "is not in the ledger; start the daemon, which enters it"
            yield Discrepancy("unknown", layout.relative(file), message)
    for folder in unknown_results(engine, layout):
        message = "is of a job that the ledger does not know; start the daemon, which sets it aside"
        yield Discrepancy("unknown", layout.relative(folder), message)


def orphans(engine: Engine, layout: Layout, repair: bool) -> Iterator[Discrepancy]:
    """Files that the ledger does not know, and that no start takes up. Never acknowledged, or there twice."""
    with reading(engine) as session:
        known = set(session.scalars(select(Instance.path).where(Instance.state != InstanceState.REMOVED)))
        jobs = {str(number) for number in session.scalars(select(Job.id).where(Job.rtstruct_path.is_not(None)))}
    known |= {layout.relative(path) for path in (() if is_locked(layout) else unknown_files(engine, layout))}
    jobs |= {folder.name for folder in unknown_results(engine, layout)}
    unknown = [file for file in files_in(layout.series) if layout.relative(file) not in known]
    for file in filter(settled, unknown):
        if repair:
            file.rename(layout.quarantine / f"orphan-{file.name}")
        yield Discrepancy(
            "orphan", layout.relative(file), "is not in the ledger (--repair moves it to quarantine)", repair
        )
    yield from still_young(layout, layout.series, unknown, "not in the ledger")
    forgotten = [folder for folder in layout.results.iterdir() if folder.name not in jobs]
    for folder in filter(settled, forgotten):
        if repair:
            shutil.rmtree(folder)
        yield Discrepancy("orphan", layout.relative(folder), "belongs to no finished job (deleted by --repair)", repair)
    yield from still_young(layout, layout.results, forgotten, "of no finished job")


def leftovers(layout: Layout, repair: bool) -> Iterator[Discrepancy]:
    """Unfinished files of a process that died."""
    unfinished = list(dict.fromkeys([*files_in(layout.incoming), *layout.directory.rglob("*.part")]))
    for path in filter(settled, unfinished):
        if repair:
            path.unlink(missing_ok=True)
        yield Discrepancy("unfinished", layout.relative(path), "was never finished (deleted by --repair)", repair)
    yield from still_young(layout, layout.incoming, unfinished, "not finished")


def still_young(layout: Layout, folder: Path, found: Sequence[Path], what: str) -> Iterator[Discrepancy]:
    """One line about those that may be on their way right now."""
    count = sum(young(path) for path in found)
    if count:
        message = f"{count} here {'is' if count == 1 else 'are'} {what} and younger than an hour; look again in an hour"
        yield Discrepancy(YOUNG, layout.relative(folder), message)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def settled(path: Path) -> bool:
    """Not touched for an hour. What has gone since it was listed is not."""
    age = age_of(path)
    return age is not None and age > SETTLED_SECONDS


def young(path: Path) -> bool:
    age = age_of(path)
    return age is not None and age <= SETTLED_SECONDS


def age_of(path: Path) -> float | None:
    """Seconds since it was touched, by a clock that may have been set. None if it is gone."""
    try:
        return abs(time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return None
