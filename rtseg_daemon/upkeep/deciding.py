"""What a person decides, checked against configuration and bundles before the ledger changes. Commands, pages and REST
come through here, so that one rule holds for all three.

`as_of` is the newest event that the person had seen. Whoever decides about what another person has decided meanwhile
gets AlreadyDecided, which says who that was.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from rtseg_daemon.bundles import load_bundles, models_of, readable_bundles, research_faults
from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import BundleError, StateError
from rtseg_daemon.ledger import decisions, jobs, seen_alarms, views
from rtseg_daemon.ledger.deliveries import retry_delivery as wake_delivery
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.first import refuse_second
from rtseg_daemon.ledger.schema import Delivery, Job
from rtseg_daemon.storage import Layout, layout_of
from rtseg_daemon.stored import Files, OwnFiles
from rtseg_daemon.upkeep import activation

REVIEWED = "reviewed"
"""The event of a person who has looked at a result with rejected organs."""


@dataclass(frozen=True)
class Desk:
    """Where decisions are made: the ledger, the configuration, and who decides."""

    engine: Engine
    config: Config
    who: str
    other_files: Files | None = None
    """Reads and brings files of other hosts too. None where this host is alone."""

    @property
    def layout(self) -> Layout:
        return layout_of(self.config)

    @property
    def files(self) -> Files:
        return self.other_files or OwnFiles(self.layout)

    def shape(self, session: Session, job: Job) -> views.JsonObject:
        """How the job stands once the transaction is committed."""
        session.flush()
        return views.job_shape(job, self.layout.shown)


def rerun(
    desk: Desk,
    job_id: int,
    why: str = "",
    *,
    bundle: str | None = None,
    no_send: bool = False,
    as_of: int | None = None,
) -> views.JsonObject:
    """A new job for the same series. Raises StateError, or BundleError for bundles that cannot run or be sent."""
    with reading(desk.engine) as session:
        old = views.find_job(session, job_id)
        names, route = bundle or old.bundle, old.route
    require_bundles(desk.config, names, route, no_send)
    with writing(desk.engine) as session:
        refuse_second(session, job_id, as_of)
        job = decisions.rerun(session, job_id, desk.who, bundle=bundle, no_send=no_send, why=why)
        return desk.shape(session, job)


def require_bundles(config: Config, names: str, route_name: str, no_send: bool) -> None:
    """Raise BundleError now rather than when the job runs, and where research would be sent by a route not for it."""
    bundles = load_bundles(models_of(config), names)
    for fault in [] if no_send else research_faults(bundles, config.route_named(route_name)):
        raise BundleError(f"{fault}; add --no-send to keep the result here")


def refuse_research(desk: Desk, job_id: int) -> None:
    """Raise BundleError where a job's route may not send what its bundles are for. One that is gone is not asked."""
    with reading(desk.engine) as session:
        job = views.find_job(session, job_id)
        names, route_name, no_send = job.bundle, job.route, job.no_send
    if no_send:
        return
    bundles = readable_bundles(models_of(desk.config), names)
    for fault in research_faults(bundles, desk.config.route_named(route_name)):
        raise BundleError(
            f"{fault}; mend the route, or `rtseg-daemon jobs rerun {job_id} --no-send` to keep the result here"
        )


def retry(desk: Desk, job_id: int, why: str = "", *, as_of: int | None = None) -> views.JsonObject:
    """Take a FAILED job up again: only its delivery, if its structure set is stored. Raises StateError, BundleError."""
    refuse_research(desk, job_id)
    with writing(desk.engine) as session:
        refuse_second(session, job_id, as_of)
        job = decisions.retry(session, job_id, desk.who, configured=desk.config.destination_names, why=why)
        return desk.shape(session, job)


def cancel(desk: Desk, job_id: int, why: str = "", *, as_of: int | None = None) -> views.JsonObject:
    """End a job that is not delivered yet. Raises StateError for others."""
    with writing(desk.engine) as session:
        refuse_second(session, job_id, as_of)
        return desk.shape(session, jobs.cancel(session, job_id, desk.who, why))


def release(desk: Desk, job_id: int, why: str, *, as_of: int | None = None) -> views.JsonObject:
    """Let a HELD job go on. Where its structure set is stored, that is sent, marked as released.

    Raises ValueError without a reason, StateError where it may not go, BundleError for research that would be sent,
    StorageError or StructureSetError where the stored file is damaged or cannot be marked, HostAway where the host that
    has it does not answer.
    """
    if not why.strip():
        raise ValueError("say why")
    refuse_research(desk, job_id)
    # pydicom and numpy, which no other decision needs
    from rtseg_daemon.work.release import marked_structure_set

    with reading(desk.engine) as session:
        refuse_second(session, job_id, as_of)
    marked = marked_structure_set(desk.engine, desk.files, job_id)
    with writing(desk.engine) as session:
        refuse_second(session, job_id, as_of)
        job = views.find_job(session, job_id)
        route = desk.config.route_named(job.route)
        if route is None and not job.no_send:
            raise StateError(f"job {job_id}: its route {job.route!r} is no longer configured; configure it again first")
        destinations = route.destinations if route else ()
        released = decisions.release(session, job_id, desk.who, why, destinations, marked=marked)
        return desk.shape(session, released)


def review(desk: Desk, job_id: int, why: str = "", *, as_of: int | None = None) -> views.JsonObject:
    """Note that a person has looked at a result, which takes it off the worklist. Raises StateError without a job."""
    with writing(desk.engine) as session:
        refuse_second(session, job_id, as_of)
        job = views.find_job(session, job_id)
        record_event(session, "job", job_id, REVIEWED, who=desk.who, detail={"why": why} if why else {})
        return desk.shape(session, job)


def retry_delivery(desk: Desk, delivery_id: int, why: str = "", *, as_of: int | None = None) -> views.JsonObject:
    """Send again now what failed, or what waits for its next attempt. Raises StateError, BundleError."""
    with reading(desk.engine) as session:
        job_id = session.scalar(select(Delivery.job_id).where(Delivery.id == delivery_id))
    if job_id is not None:
        refuse_research(desk, job_id)
    with writing(desk.engine) as session:
        if job_id is not None:
            refuse_second(session, job_id, as_of)
        delivery = wake_delivery(session, delivery_id, desk.who, configured=desk.config.destination_names, why=why)
        session.flush()
        return views.delivery_shape(delivery)


def roll_back(desk: Desk, bundle: str, why: str) -> views.JsonObject:
    """Let the version of a bundle serve again that did before the present one.

    Raises ValueError without a reason, BundleError where there is none or somebody else decides about the bundle.
    """
    if not why.strip():
        raise ValueError("say why")
    models = models_of(desk.config)
    step = activation.roll_back(models, bundle, who=desk.who, why=why.strip(), wait=False)
    activation.tell(desk.engine, models)
    return activation.step_shape(bundle, True, step)


def acknowledge(desk: Desk, alarm_id: int, why: str = "") -> views.JsonObject:
    """Note who has seen an alarm. Raises StateError if there is none, or AlreadyDecided where somebody did."""
    with writing(desk.engine) as session:
        return views.alarm_shape(seen_alarms.acknowledge(session, alarm_id, desk.who, why))
