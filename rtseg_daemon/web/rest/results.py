"""What came of jobs and deliveries, counted for Prometheus from the events as they come. No label names a patient.

Counters begin with the dashboard's process, as Prometheus expects of counters.
"""

import threading
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from sqlalchemy import Engine, or_, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.first import newest_event
from rtseg_daemon.ledger.schema import Delivery, Event, Job
from rtseg_daemon.ledger.states import JobState

disable_created_metrics()  # type: ignore[no-untyped-call]
BATCH = 500
ML = (0.1, 0.3, 1, 3, 10, 20, 30, 50, 100, 300, 1000, 3000)
STAGE_SECONDS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
DELIVERY_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
MADE = "segmented"
SENT = "sent"


class Results:
    """The counters, and the event up to which they have counted."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.lock = engine, threading.Lock()
        self.registry = CollectorRegistry()
        self.flags = Counter(
            "rtseg_organs", "Organs of finished jobs by flag.", ("bundle", "organ", "flag"), registry=self.registry
        )
        self.volumes = Histogram(
            "rtseg_organ_volume_ml",
            "Volumes of organs that were found.",
            ("bundle", "organ"),
            buckets=ML,
            registry=self.registry,
        )
        self.stages = Histogram(
            "rtseg_stage_seconds",
            "Seconds of jobs per stage.",
            ("stage",),
            buckets=STAGE_SECONDS,
            registry=self.registry,
        )
        self.deliveries = Histogram(
            "rtseg_delivery_seconds",
            "From the structure set to its arrival at a destination.",
            ("destination",),
            buckets=DELIVERY_SECONDS,
            registry=self.registry,
        )
        self.ended = Counter("rtseg_jobs_ended", "Jobs that came to a state.", ("state",), registry=self.registry)
        with reading(engine) as session:
            self.counted = newest_event(session)

    def catch_up(self) -> None:
        """Count what has happened since the last time. Raises SQLAlchemyError where the ledger cannot be read."""
        with self.lock, reading(self.engine) as session:
            while events := self.new_events(session):
                for event in events:
                    self.count(session, event)
                self.counted = events[-1].id

    def new_events(self, session: Session) -> list[Event]:
        told = or_(Event.to_state.is_not(None), Event.what == SENT)
        query = select(Event).where(Event.id > self.counted, Event.subject.in_(("job", "delivery")), told)
        return list(session.scalars(query.order_by(Event.id).limit(BATCH)))

    def count(self, session: Session, event: Event) -> None:
        """One event."""
        if event.subject == "delivery":
            delivery = session.get(Delivery, event.subject_id)
            if event.what == SENT and delivery is not None:
                self.deliveries.labels(delivery.destination).observe(max(0.0, event.at - delivery.created_at))
            return
        if event.to_state not in ENDS and not is_result(event):
            return
        job = session.get(Job, event.subject_id)
        if job is None or job.shadow:  # a shadow's contours are nobody's result
            return
        if event.to_state in ENDS:
            self.ended.labels(event.to_state).inc()
        if is_result(event):
            self.count_result(job)

    def count_result(self, job: Job) -> None:
        """Organs and stages of a job that has a result."""
        for roi in job.rois:
            organ, flag, volume = str(roi.get("name", "")), str(roi.get("flag", "")), roi.get("volume_ml")
            self.flags.labels(job.bundle, organ, flag).inc()
            if isinstance(volume, int | float) and volume > 0:
                self.volumes.labels(job.bundle, organ).observe(volume)
        for stage, seconds in job.seconds.items():
            self.stages.labels(stage).observe(seconds)


ENDS: frozenset[str] = frozenset((JobState.DELIVERED, JobState.HELD, JobState.FAILED, JobState.CANCELLED))


def is_result(event: Event) -> bool:
    """Whether a worker ended a job with organs: to be sent, or held by the gates after inference."""
    return event.from_state == JobState.RUNNING and event.to_state in (JobState.SEGMENTED, JobState.HELD)


def names(registries: Iterable[CollectorRegistry]) -> set[str]:
    """Every metric's name, as a query writes it but for `_bucket`, `_sum` and `_count`."""
    return {metric.name for registry in registries for metric in registry.collect()}
