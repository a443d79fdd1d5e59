"""The sweep over open series: which are complete, which wait, which are held. Complete ones become jobs.

For each series one transaction reads, a pure function decides, and at most one transaction writes. Bundles and headers
are read between the two, while no transaction is open.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.assemble.completeness import Decision, Next, Patience, irregularity
from rtseg_daemon.assemble.header_shelf import HeaderShelf
from rtseg_daemon.assemble.look import Look, look
from rtseg_daemon.assemble.plan import Plan, plan_for
from rtseg_daemon.assemble.quiet_clock import QuietClock
from rtseg_daemon.assemble.routing import known_bundle, tolerance_of
from rtseg_daemon.bundles import models_of
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.values import JOINER
from rtseg_daemon.errors import DutyLost, RtsegError, SeriesError
from rtseg_daemon.gates.series import judge_series
from rtseg_daemon.gates.verdict import Verdict, gravest
from rtseg_daemon.ledger import jobs, refusals, superseding
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Series
from rtseg_daemon.ledger.series import hold_series, last_instance_id, open_series
from rtseg_daemon.ledger.states import JobState, SeriesState
from rtseg_daemon.logs import log
from rtseg_daemon.storage import damage, layout_of
from rtseg_daemon.stored import Files, OwnFiles, digested

OVERTAKEN = "new slices of the series have come; it waits until the series is complete again"

CLOCK = QuietClock()
SHELF = HeaderShelf()


def sweep(engine: Engine, config: Config, now: float, clock: QuietClock = CLOCK, files: Files | None = None) -> None:
    """Look at every open series once. `now` is written into the ledger. `files` reads headers where images lie.

    Raises SQLAlchemyError where the ledger cannot be used, DutyLost where another host sweeps by now.
    """
    files = files or OwnFiles(layout_of(config))
    with reading(engine) as session:
        ids = [series.id for series in open_series(session)]
    clock.forget_all_but(ids)
    SHELF.forget_all_but(ids)
    for series_id in ids:
        try:
            with reading(engine) as session:
                found = look(session, session.get_one(Series, series_id), config, clock)
            look_at(engine, config, found, now, files)
        except (SQLAlchemyError, DutyLost):
            raise
        except (RtsegError, OSError) as error:
            log().error("a series cannot be assembled now; trying again", series=series_id, exc_info=error)
        except Exception as error:  # noqa: BLE001 - a stranger's values; one series must not stop the others
            log().critical("a series breaks its assembly; trying again", series=series_id, exc_info=error)


def look_at(engine: Engine, config: Config, found: Look, now: float, files: Files) -> None:
    """Decide about one series and act on it."""
    if irregularity(found.facts.slices):
        facts = replace(found.facts, tolerance=tolerance_of(found.route, config))
        found = replace(found, facts=facts)
    plan = plan_for(found, patience_of(config))
    images = digested(files, found.files) if plan.jobs else []
    if plan.jobs and not SHELF.fill(found.series_id, found.heard, [path for path, _ in images]):
        plan = Plan(hold_jobs=bool(found.overtaken))  # the next sweep reads on
    verdicts = {name: judge(found.series_id, images, config, name) for name in plan.jobs}
    if plan.writes:
        with writing(engine) as session:
            carry_out(session, found, plan, verdicts, now)


def patience_of(config: Config) -> Patience:
    series = config.series
    return Patience(series.quiet_seconds, series.gap_wait_seconds, series.abandon_minutes * 60.0)


def judge(series_id: int, files: Sequence[tuple[Path, str]], config: Config, names: str) -> Verdict:
    """The series gate for the bundles of one job. A damaged file holds nothing here: the worker fails on it by name,
    and the job can be retried once the image has come again."""
    bundles = [known_bundle(models_of(config), name) for name in names.split(JOINER)]
    try:
        headers = SHELF.headers(series_id, [path for path, _ in files])
        return gravest([judge_series(headers, bundle.limits) for bundle in bundles])
    except SeriesError as error:
        if any(damage(path, sha256) for path, sha256 in files):
            return Verdict("flag", (str(error),))
        return Verdict("hold", (str(error),), releasable=False)


def carry_out(session: Session, found: Look, plan: Plan, verdicts: dict[str, Verdict], now: float) -> None:
    """Write what was planned. The series is closed only if nothing was heard of it since it was found."""
    series_id = found.series_id
    if plan.alarm and refusals.alarm(session, series_id, at=now):
        log().warning("a series lacks an image that was refused", series=series_id)
    if plan.hold_jobs:
        jobs.hold_undelivered(session, series_id, OVERTAKEN, releasable=True, at=now)
        log().warning("slices came after the job was made", series=series_id, jobs=list(found.overtaken))
    if plan.closes and unchanged(session, found):
        close_series(session, series_id, plan, now)
        for bundle, verdict in verdicts.items():
            make_job(session, found, bundle, plan.decision, verdict, now)


def unchanged(session: Session, found: Look) -> bool:
    """Whether the series is open still, and neither an image, a duplicate nor a refusal of it has come."""
    series = session.get_one(Series, found.series_id)
    heard = (series.last_received_at, last_instance_id(session, series.id))
    return series.state is SeriesState.OPEN and heard == (found.heard, found.newest)


def close_series(session: Session, series_id: int, plan: Plan, now: float) -> None:
    """COMPLETE, HELD, or UNROUTED where there is a reason to leave it alone."""
    if plan.left_alone:
        reasons = [plan.left_alone, *plan.decision.reasons]
        move_series(session, series_id, SeriesState.UNROUTED, what=plan.left_alone, reasons=reasons, at=now)
    elif plan.decision.next is Next.HOLD:
        hold_series(session, series_id, plan.decision.reasons, at=now)
    else:
        move_series(session, series_id, SeriesState.COMPLETE, what="complete", at=now)


def make_job(session: Session, found: Look, bundle: str, decision: Decision, verdict: Verdict, now: float) -> None:
    """A job for the series as it stands: QUEUED, or HELD with everything that speaks against it."""
    assert found.route is not None
    job = jobs.create_job(session, found.series_id, found.newest, bundle, found.route.name, at=now)
    older = superseding.supersede(session, found.series_id, bundle, by=job.id, at=now)
    job.supersedes_id = older
    job.verdicts = job.verdicts or [{"gate": "series", "verdict": verdict.verdict, "reasons": list(verdict.reasons)}]
    if decision.reasons:
        jobs.note_reception(job, decision.reasons)
    if older is not None:
        record_event(session, "job", job.id, "supersedes", detail={"job": older}, at=now)
    reasons = [*decision.reasons, *(verdict.reasons if verdict.verdict == "hold" else ())]
    if reasons and job.state is JobState.QUEUED:
        releasable = verdict.verdict != "hold" or verdict.releasable
        jobs.hold(session, job.id, "; ".join(dict.fromkeys(reasons)), releasable=releasable, at=now)
