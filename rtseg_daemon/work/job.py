"""The worker: takes one job after the other, with the models kept loaded between them."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.bundles import Bundle, digest_of, load_bundle, load_bundles, models_of, research_faults
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Compute, Route
from rtseg_daemon.errors import ConfigError, EngineError, LeaseLost, RtsegError, SeriesError
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import kept_instances
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.logs import describe, log
from rtseg_daemon.segment.engines.memory import attempts, halved, out_of_memory, reduced
from rtseg_daemon.segment.entropy_map import save_entropy_map
from rtseg_daemon.storage import Layout, check_files
from rtseg_daemon.work import case

if TYPE_CHECKING:
    from rtseg_daemon.segment.pipeline import Segmenter

IDLE_SECONDS = 0.25
BEAT_SECONDS = 1.0
RTSTRUCT = "RTSTRUCT.dcm"
PATIENCE_SECONDS = 300.0
"""How long a finished result waits for a full disk or a busy ledger before the worker gives up and dies."""


class Worker:
    """One worker: its ledger, its device, and the bundles it has loaded."""

    def __init__(self, config: Config, name: str, device: str) -> None:
        self.config = config
        self.owner = f"{name}-{os.getpid()}"
        self.compute = config.compute.model_copy(update={"device": device})
        self.layout = Layout(config.storage.directory)
        self.engine: Engine = open_ledger(config.database_url)
        self.segmenters: dict[str, Segmenter] = {}

    def run(self, stop: threading.Event) -> None:
        """Until stopped; the job at hand is finished first."""
        self.warm()
        while not stop.is_set():
            job_id = self.claim()
            if job_id is None:
                stop.wait(IDLE_SECONDS)
            else:
                self.do(job_id)

    def warm(self) -> None:
        """Load the bundles of all routes, so that the first case waits for no compiler; failures are told by jobs."""
        for name in dict.fromkeys(bundle for route in self.config.routes for bundle in route.bundle):
            began = time.monotonic()
            log().info("loading a bundle; its first start on this machine compiles it", bundle=name)
            try:
                bundle = load_bundle(models_of(self.config), name)
                self.segmenter(bundle, self.compute)
            except Exception as error:  # noqa: BLE001 - whatever is wrong, each job must be able to say it
                reason = str(error) if isinstance(error, RtsegError) else describe(error)
                log().error("the bundle cannot be loaded; its jobs will fail", bundle=name, reason=reason)
            else:
                log().info("bundle ready", bundle=name, seconds=round(time.monotonic() - began, 1))

    def claim(self) -> int | None:
        """The oldest job waiting, leased; None if there is none or the ledger cannot be written now."""
        try:
            with reading(self.engine) as session:
                if session.scalar(select(Job.id).where(Job.state == JobState.QUEUED).limit(1)) is None:
                    return None
            with writing(self.engine) as session:
                job = jobs.claim_job(session, self.owner)
                return job.id if job else None
        except SQLAlchemyError as error:
            log().error("no job can be claimed now; trying again", exc_info=error)
            return None

    def do(self, job_id: int) -> None:
        """Run one job to SEGMENTED, HELD or FAILED; whatever it throws ends the job and not the worker."""
        log().info("job started", job=job_id)
        try:
            self.run_job(job_id)
        except LeaseLost:
            log().warning("the job was taken away; its result is dropped", job=job_id)
        except SeriesError as error:
            reason = str(error)
            self.settle(job_id, lambda: self.hold(job_id, reason))
        except RtsegError as error:
            reason = str(error)
            self.settle(job_id, lambda: self.fail(job_id, reason))
        except Exception as error:  # noqa: BLE001 - the world is met here: a job that breaks must not break the next
            log().error("a job broke", job=job_id, exc_info=error)
            reason = f"an error that nobody foresaw: {describe(error)}; report it, then retry the job"
            self.settle(job_id, lambda: self.fail(job_id, reason))

    def run_job(self, job_id: int) -> None:
        """The whole step as a function of the job's number: read, segment, write, enter in the ledger.

        Files are compared with their digests beside that; nothing made of a damaged one goes on.
        """
        with reading(self.engine) as session:
            job = session.get_one(Job, job_id)
            instances = kept_instances(session, job.series_id, up_to=job.last_instance_id)
            files = [(self.layout.directory / instance.path, instance.sha256) for instance in instances]
        route = self.route_of(job)
        if route is None and not job.no_send:
            reason = f"its route {job.route!r} is no longer configured; configure it again, then retry the job"
            self.settle(job_id, lambda: self.fail(job_id, reason))
            return
        options = options_for(job, route)
        beat = Beat(self.engine, job_id, self.owner)
        with ThreadPoolExecutor(1) as beside:
            checking = beside.submit(check_files, files, "have the series sent again, then retry the job")
            try:
                result = self.process([path for path, _ in files], job, options, beat)
            finally:
                checking.result()  # a damaged file is the reason, whatever came of it
        if result.dataset is not None:
            result = self.write(job_id, result, options)
        self.settle(job_id, lambda: self.finish(job_id, result, route))

    def route_of(self, job: Job) -> Route | None:
        """The job's route as it is configured now; None if it is gone."""
        return self.config.route_named(job.route)

    def process(self, paths: list[Path], job: Job, options: case.Options, beat: "Beat") -> case.CaseResult:
        """Segment on this worker's device; where memory runs out in smaller windows, then on the CPU."""
        bundles = load_bundles(models_of(self.config), job.bundle)
        for fault in [] if job.no_send else research_faults(bundles, self.route_of(job)):
            raise ConfigError(f"{fault}; mend the route and restart, then retry the job, or rerun it with --no-send")
        for device, halvings in attempts(self.compute.device, bundles):
            try:
                return self.process_on(paths, job.id, bundles, device, halvings, options, beat)
            except Exception as error:
                if not out_of_memory(error):
                    raise
            self.note(job.id, "out of memory", {"device": device, "windows halved": halvings})
            self.segmenters.clear()
        raise EngineError(
            f"memory ran out on {self.compute.device}, in smaller windows and on the CPU too; "
            "free memory or use a smaller bundle, then retry the job"
        )

    def process_on(
        self,
        paths: list[Path],
        job_id: int,
        bundles: Sequence[Bundle],
        device: str,
        halvings: int,
        options: case.Options,
        beat: "Beat",
    ) -> case.CaseResult:
        """One attempt: on `device`, in windows halved so many times."""
        compute = self.compute
        if device != compute.device:
            compute = compute.model_copy(update={"device": device, "backend": "auto", "precision": "auto"})

        def load(bundle: Bundle) -> "Segmenter":
            found = self.segmenter(halved(bundle, halvings), compute)
            if shortage := reduced(found.bundle, bundle):
                self.note(job_id, "smaller windows", {"bundle": bundle.name, "reason": shortage})
            return found

        return case.process_case(paths, bundles, load, options, beat)

    def note(self, job_id: int, what: str, detail: dict[str, Any]) -> None:
        """A line in the log and in the job's events."""

        def write() -> None:
            with writing(self.engine) as session:
                record_event(session, "job", job_id, what, detail=detail, who=self.owner)

        log().warning(what, job=job_id, **detail)
        self.settle(job_id, write)

    def segmenter(self, bundle: Bundle, compute: Compute) -> "Segmenter":
        """The bundle, loaded and warm; loaded again when the installed one has changed, or memory was short last time.

        What is kept of other bundles stays; of this one only what is asked for now.
        """
        key = f"{bundle.digest} {compute.device} {bundle.window} {bundle.window_step}"
        kept = self.segmenters.get(key)
        if kept is None or reduced(kept.bundle, bundle):
            self.segmenters = {k: one for k, one in self.segmenters.items() if one.bundle.name != bundle.name}
            kept = self.segmenters[key] = case.load_segmenter(bundle, compute, self.layout.engine_cache)
        return kept

    def write(self, job_id: int, result: case.CaseResult, options: case.Options) -> case.CaseResult:
        """The structure set and the entropy maps in the job's folder, durable; then the gate on what was written."""
        folder = self.layout.result(job_id)

        def write() -> None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            case.write_case(result, folder / RTSTRUCT)
            for index, (bundle, entropy) in enumerate(zip(result.bundles, result.entropies, strict=True)):
                save_entropy_map(entropy, folder / (f"entropy-{bundle.name}.npz" if index else "entropy.npz"))

        self.settle(job_id, write)
        return case.checked(result, folder / RTSTRUCT, options)

    def finish(self, job_id: int, result: case.CaseResult, route: Route | None) -> None:
        """SEGMENTED with its deliveries, or HELD by a gate, in one transaction."""
        outcome = self.outcome_of(job_id, result)
        with writing(self.engine) as session:
            for note in result.notes:
                record_event(session, "job", job_id, "value not carried over", detail={"note": note}, who=self.owner)
            if result.held:
                reason = "; ".join(result.reasons)
                jobs.hold(session, job_id, reason, releasable=result.releasable, owner=self.owner, outcome=outcome)
            else:
                destinations = route.destinations if route else ()
                jobs.finish_segmentation(session, job_id, self.owner, outcome, destinations)
        log().info("job held" if result.held else "job segmented", job=job_id, seconds=outcome.seconds)

    def outcome_of(self, job_id: int, result: case.CaseResult) -> jobs.Outcome:
        """What the ledger keeps of a result."""
        path = self.layout.result(job_id) / RTSTRUCT if result.dataset is not None else None
        return jobs.Outcome(
            bundle_digest=digest_of(result.bundles),
            verdicts=result.gates,
            rois=result.rois,
            flags=result.flags,
            seconds=result.seconds,
            rtstruct_path=self.layout.relative(path) if path else None,
            rtstruct_sop_instance_uid=result.sop_instance_uid,
            rtstruct_sha256=hashlib.sha256(path.read_bytes()).hexdigest() if path else None,
        )

    def hold(self, job_id: int, reason: str) -> None:
        with writing(self.engine) as session:
            jobs.hold(session, job_id, reason, owner=self.owner)
        log().info("job held", job=job_id)

    def fail(self, job_id: int, reason: str) -> None:
        with writing(self.engine) as session:
            jobs.fail(session, job_id, reason, owner=self.owner)
        log().error("job failed", job=job_id)

    def settle(self, job_id: int, write: Callable[[], None]) -> None:
        """Do a write, again and again while the disk is full or the ledger busy: the result is worth the wait."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return write()
            except LeaseLost:
                log().warning("the job was taken away; its result is dropped", job=job_id)
                return None
            except (SQLAlchemyError, OSError) as error:
                if time.monotonic() > deadline:
                    raise
                log().error("the result cannot be written now; trying again", job=job_id, exc_info=error)
                time.sleep(1.0)


class Beat:
    """Reports a job's stage to the ledger, at most once a second within one stage."""

    def __init__(self, engine: Engine, job_id: int, owner: str) -> None:
        self.engine = engine
        self.job_id = job_id
        self.owner = owner
        self.stage = ""
        self.at = float("-inf")

    def __call__(self, stage: str) -> None:
        """Raises LeaseLost if the job was taken away; a ledger that is busy costs a beat, not the job."""
        if stage == self.stage and time.monotonic() - self.at < BEAT_SECONDS:
            return
        self.stage, self.at = stage, time.monotonic()
        try:
            with writing(self.engine) as session:
                jobs.heartbeat(session, self.job_id, self.owner, stage)
        except SQLAlchemyError as error:
            log().warning("a heartbeat could not be written", job=self.job_id, exc_info=error)


def options_for(job: Job, route: Route | None) -> case.Options:
    """How the job is to be done, from its row and its route."""
    seen = frozenset(case.kind_of(verdict["gate"]) for verdict in job.verdicts or ()) - {"organs"}
    options = case.Options(job.run, released=seen if job.released_by is not None else frozenset())
    return options if route is None else replace(options, rejected=route.rejected, rings=route.rings)
