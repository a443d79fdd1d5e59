"""One job by its number: read, contour, write, enter in the ledger. Any launcher can call `run_job`."""

import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.bundles import Bundle, bundles_for, digest_of, research_faults
from rtseg_daemon.config.sections import Route
from rtseg_daemon.ct.geometry import geometry_of
from rtseg_daemon.ct.preconditions import RELEASABLE
from rtseg_daemon.errors import (
    CardLost,
    ConfigError,
    HostAway,
    HostGone,
    LeaseLost,
    MadeWay,
    RtsegError,
    SeriesError,
    StorageFull,
)
from rtseg_daemon.ledger import hosts, jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.feedback_tables import SeriesGeometry
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.loss import hindrance, may_pass
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import kept_instances
from rtseg_daemon.ledger.superseding import predecessor
from rtseg_daemon.ledger.views import PICTURE
from rtseg_daemon.logs import describe, log
from rtseg_daemon.segment.entropy_map import save_entropy_map
from rtseg_daemon.segment.pipeline import Segmenter, Stages, unheard
from rtseg_daemon.storage import Layout, check_files
from rtseg_daemon.stored import Stored, digested, image
from rtseg_daemon.work import case
from rtseg_daemon.work.ahead import ReadJob
from rtseg_daemon.work.desk import Desk
from rtseg_daemon.work.endings import break_off, fail, hold, make_way, note, put_off, settle
from rtseg_daemon.work.heartbeat import Heartbeat
from rtseg_daemon.work.kept_lease import kept

RTSTRUCT = "RTSTRUCT.dcm"
HOME_SECONDS = 10.0
"""How long it waits for another host, where it is at home. Other jobs could be done meanwhile."""
SENT_AGAIN = "have the series sent again, then retry the job"


def run_job(desk: Desk, lease: Lease) -> None:
    """The whole step: a job that `desk.owner` has claimed, by this lease, ends SEGMENTED, HELD or FAILED.

    What is not there now (a host, the ledger, room on a disk) puts it off: it is QUEUED again. Whatever it throws else
    ends the job and not the worker, with two exceptions. A ledger that cannot be written for long raises
    SQLAlchemyError. A card that failed raises CardLost: the worker must end, and the job is then
    taken up again.
    """
    log().info("job started", job=lease.job_id)
    with kept(desk.engine, lease):
        run_leased(desk, lease)


def run_leased(desk: Desk, lease: Lease) -> None:
    """`run_job` while somebody keeps the lease."""
    try:
        contour(desk, lease)
    except LeaseLost:
        log().warning("the job was taken away; its result is dropped", job=lease.job_id)
    except SeriesError as error:
        # a release changes nothing about images that are no volume, and must not look as if it did
        hold(desk, lease, str(error), releasable=error.precondition in RELEASABLE)
    except CardLost:
        raise
    except MadeWay:
        make_way(desk, lease)
    except (HostAway, StorageFull) as error:
        put_off(desk, lease, str(error))
    except SQLAlchemyError as error:
        if may_pass(error):
            put_off(desk, lease, f"the ledger could not be used ({hindrance(error)})")
        else:
            break_off(desk, lease, error)
    except RtsegError as error:
        fail(desk, lease, str(error))
    except Exception as error:  # noqa: BLE001 - the world is met here: a job that breaks must not break the next
        break_off(desk, lease, error)


def contour(desk: Desk, lease: Lease) -> None:
    """From the job's files to its entry in the ledger. Raises RtsegError for what ends a job without a result.

    Files are compared with their digests beside that. Nothing made of a damaged one goes on.
    """
    job_id = lease.job_id
    job, files, older = what_it_takes(desk, job_id)
    route = desk.config.route_named(job.route)
    if route is None and not job.no_send:
        raise ConfigError(f"its route {job.route!r} is no longer configured; configure it again, then retry the job")
    options = options_for(job, route, older)
    at_home = desk.files.keeps(job.host)
    if not at_home:
        desk.files.beside(job.host, job_id)  # a home that is away is found out before the work, not after it
    with ThreadPoolExecutor(1) as beside:
        checking = beside.submit(check_files, files, SENT_AGAIN)
        try:
            result = process(desk, lease, job, files, options, checking)
        finally:
            checking.result()  # a damaged file is the reason, whatever came of it
    try:
        if result.dataset is not None:
            result = write(desk, job_id, result, options)
            if not at_home:
                bring_home(desk, lease, job, result, options)
        finished = settle(job_id, lambda: finish(desk, lease, result, route))
    finally:
        if not at_home:
            shutil.rmtree(desk.layout.result(job_id), ignore_errors=True)
    if at_home and finished and result.dataset is not None and not job.shadow:
        paint(desk, job_id, result, options)


def bring_home(desk: Desk, lease: Lease, job: Job, result: case.CaseResult, options: case.Options) -> None:
    """Everything made of a case goes to the host that received it, and is durable there before the ledger says so."""
    folder = desk.layout.result(lease.job_id)
    if not job.shadow:
        paint(desk, lease.job_id, result, options)
        desk.painter.finish()
    made = sorted(folder.iterdir())
    settle(lease.job_id, lambda: desk.files.bring(job.host, lease.job_id, lease.token, made), HOME_SECONDS)


def what_it_takes(desk: Desk, job_id: int) -> tuple[Job, list[tuple[Path, str]], str | None]:
    """The job's row, path and SHA-256 of each file of its series, and the UID of the structure set it supersedes.

    Raises HostGone where files went with a host that is out of the ledger.
    """
    with reading(desk.engine) as session:
        job = session.get_one(Job, job_id)
        job.series  # noqa: B018 - loaded while the session is there
        instances = kept_instances(session, job.series_id, up_to=job.last_instance_id)
        stored = [image(one) for one in instances]
        older = predecessor(session, job)
    files = digested(desk.files, stored)
    refuse_gone(desk, [one.host for one, (path, _) in zip(stored, files, strict=True) if is_missing(desk, one, path)])
    return job, files, older


def is_missing(desk: Desk, one: Stored, path: Path) -> bool:
    """Whether the file of another host is not here."""
    return not desk.files.keeps(one.host) and not path.exists()


def refuse_gone(desk: Desk, owners: Sequence[str]) -> None:
    """Raise HostGone where one of these hosts, whose files are missing, is out of the ledger."""
    if not owners:
        return
    with reading(desk.engine) as session:
        known = {one.name for one in hosts.hosts(session)}
    gone = [host for host in owners if host not in known]
    if gone:
        raise HostGone(f"{len(gone)} of its images went with host {gone[0]}, which is out of the ledger; {SENT_AGAIN}")


def options_for(job: Job, route: Route | None, older: str | None = None) -> case.Options:
    """How the job is to be done, from its row, its route and the UID of the structure set that it supersedes."""
    reception = tuple(jobs.reception_reasons(job))
    seen = frozenset(case.kind_of(verdict["gate"]) for verdict in job.verdicts or ()) - {"organs"} | {jobs.RECEPTION}
    released = seen if job.released_by is not None else frozenset()
    options = case.Options(job.run, reception, released, predecessor=older)
    return options if route is None else replace(options, rejected=route.rejected, rings=route.rings)


def process(
    desk: Desk,
    lease: Lease,
    job: Job,
    files: list[tuple[Path, str]],
    options: case.Options,
    checking: "Future[None]",
) -> case.CaseResult:
    """The case with the job's bundles. Raises ConfigError where its route may not send what they make.

    `checking` compares the files with their digests meanwhile.
    """
    bundles = bundles_for(desk.config, job.bundle)
    route = desk.config.route_named(job.route)
    for fault in [] if job.no_send else research_faults(bundles, route):
        raise ConfigError(f"{fault}; mend the route and restart, then retry the job, or rerun it with --no-send")
    beat = Heartbeat(desk.engine, lease, yields=job.shadow)
    loaded = desk.loaded.aside() if job.shadow else desk.loaded
    paths = [path for path, _ in files]
    ready = desk.ahead.take(read_job(job, files, bundles, options))

    def process_with(load: case.Load) -> case.CaseResult:
        def load_and_look_ahead(bundle: Bundle) -> Segmenter:
            segmenter = load(bundle)
            if loaded.on_card:  # this job's own series is read by now
                wait([checking])  # the next one's files may take the place of its own on the shelf
                read_next(desk)
            return segmenter

        return case.process_case(paths, bundles, load_and_look_ahead, options, beat, ready)

    return loaded.run(bundles, process_with, partial(note, desk, lease.job_id))


def read_job(job: Job, files: list[tuple[Path, str]], bundles: Sequence[Bundle], options: case.Options) -> ReadJob:
    """What reading this job's series depends on."""
    return ReadJob(job.id, (tuple(files), tuple(bundle.digest for bundle in bundles), options))


def read_next(desk: Desk) -> None:
    """Begin to read the series of the job that will probably be next. What goes wrong here is met by that job alone."""
    try:
        with reading(desk.engine) as session:
            waiting = jobs.next_waiting(session) if jobs.somebody_waits(session) else None
        if waiting is None:
            return
        job, files, older = what_it_takes(desk, waiting)
        options = options_for(job, desk.config.route_named(job.route), older)
        bundles = bundles_for(desk.config, job.bundle)
    except Exception as error:  # noqa: BLE001 - the job at hand must not suffer for another one
        log().info("the next series is not read ahead", reason=describe(error))
        return

    def read() -> case.CaseResult:
        found = case.read_case([path for path, _ in files], bundles, options, Stages(unheard))
        check_files(files, SENT_AGAIN)
        return found

    desk.ahead.start(read_job(job, files, bundles, options), read)


def write(desk: Desk, job_id: int, result: case.CaseResult, options: case.Options) -> case.CaseResult:
    """The structure set and the entropy maps in the job's folder, durable. Then comes the gate on what was written."""
    folder = desk.layout.result(job_id)

    def write_files() -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        case.write_case(result, folder / RTSTRUCT)
        for index, (bundle, entropy) in enumerate(zip(result.bundles, result.entropies, strict=True)):
            save_entropy_map(entropy, folder / (f"entropy-{bundle.name}.npz" if index else "entropy.npz"))

    settle(job_id, write_files)
    return case.checked(result, folder / RTSTRUCT, options)


def finish(desk: Desk, lease: Lease, result: case.CaseResult, route: Route | None) -> None:
    """SEGMENTED with its deliveries, or HELD by a gate, in one transaction."""
    job_id = lease.job_id
    outcome = outcome_of(desk.layout, job_id, result)
    with writing(desk.engine) as session:
        for line in result.notes:
            record_event(session, "job", job_id, "value not carried over", detail={"note": line}, who=desk.owner)
        if result.series is not None:
            job, geometry = session.get_one(Job, job_id), geometry_of(result.series).document()
            row = SeriesGeometry(series_id=job.series_id, last_instance_id=job.last_instance_id, geometry=geometry)
            session.merge(row)
        if result.held:
            reason = "; ".join(result.reasons)
            jobs.hold(session, job_id, reason, releasable=result.releasable, lease=lease, outcome=outcome)
        else:
            destinations = route.destinations if route else ()
            jobs.finish_segmentation(session, lease, outcome, destinations)
    log().info("job held" if result.held else "job segmented", job=job_id, seconds=outcome.seconds)


def paint(desk: Desk, job_id: int, result: case.CaseResult, options: case.Options) -> None:
    """The page to review the case by, drawn while deliveries and the next job go on."""

    def tell(error: Exception) -> None:
        note(desk, job_id, "no picture", {"reason": describe(error)})

    desk.painter.paint(result, desk.layout.result(job_id) / PICTURE, options.rejected, tell)


def outcome_of(layout: Layout, job_id: int, result: case.CaseResult) -> jobs.Outcome:
    """What the ledger keeps of a result."""
    path = layout.result(job_id) / RTSTRUCT if result.dataset is not None else None
    return jobs.Outcome(
        bundle_digest=digest_of(result.bundles),
        verdicts=result.gates,
        rois=result.rois,
        flags=result.flags,
        seconds=result.seconds,
        rtstruct_path=layout.relative(path) if path else None,
        rtstruct_sop_instance_uid=result.sop_instance_uid,
        rtstruct_sha256=hashlib.sha256(path.read_bytes()).hexdigest() if path else None,
    )
