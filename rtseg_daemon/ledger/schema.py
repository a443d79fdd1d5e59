"""The ledger's tables. Times are seconds since 1970-01-01 UTC. Paths are relative to the storage directory."""

from enum import Enum as PythonEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Enum, ForeignKey, Index, Integer, UniqueConstraint, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from rtseg_daemon.ledger.states import DeliveryState, Ending, InstanceState, JobState, SeriesState

KEPT = text("state = 'KEPT'")
REMOVED = text("state = 'REMOVED'")
NO_SHADOW, WANTED = text("shadow = 0"), text("NOT shadow")
"""The same, as SQLite and as PostgreSQL find it in a question."""
SUPERSEDES = text("supersedes_id IS NOT NULL")
UNSENT = text("sent_at IS NULL")
UNSEEN = text("acknowledged_at IS NULL")


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012 - the name and form SQLAlchemy asks for
        int: BigInteger().with_variant(Integer(), "sqlite"),
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
        dict[str, float]: JSON,
        list[str]: JSON,
        list[dict[str, Any]]: JSON,
        PythonEnum: Enum(PythonEnum, native_enum=False, length=16),
    }


class IncomingAssociation(Base):
    """One incoming DICOM association."""

    __tablename__ = "association"

    id: Mapped[int] = mapped_column(primary_key=True)
    calling_ae: Mapped[str]
    calling_host: Mapped[str]
    opened_at: Mapped[float]
    ended_at: Mapped[float | None]
    ending: Mapped[Ending] = mapped_column(default=Ending.OPEN, index=True)
    host: Mapped[str] = mapped_column(default="", server_default="")
    """Which of several hosts accepted it."""


class Series(Base):
    """One received series and how far its reception has come."""

    __tablename__ = "series"

    id: Mapped[int] = mapped_column(primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(unique=True)
    study_instance_uid: Mapped[str] = mapped_column(index=True)
    patient_id: Mapped[str]
    modality: Mapped[str]
    calling_ae: Mapped[str]
    calling_host: Mapped[str]
    body_part: Mapped[str] = mapped_column(default="")
    description: Mapped[str] = mapped_column(default="")
    state: Mapped[SeriesState] = mapped_column(default=SeriesState.OPEN, index=True)
    reasons: Mapped[list[str]] = mapped_column(default=list)
    releasable: Mapped[bool] = mapped_column(default=True)
    """False once a conflict of identity or content was seen: no person may release it."""
    expected_count: Mapped[int | None]
    """NumberOfSeriesRelatedInstances as a query/retrieve peer told it."""
    counted_instance_id: Mapped[int | None]
    """The newest instance when that count was found to stay the same, or None while it is not to be relied on."""
    first_received_at: Mapped[float]
    last_received_at: Mapped[float] = mapped_column(index=True)
    updated_at: Mapped[float]

    instances: Mapped[list["Instance"]] = relationship(back_populates="series", order_by="Instance.id")
    jobs: Mapped[list["Job"]] = relationship(back_populates="series", order_by="Job.id")


class SeriesAssociation(Base):
    """Which associations carried slices of which series, duplicates included."""

    __tablename__ = "series_association"
    __table_args__ = (Index("carried_by", "association_id"),)

    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True)
    association_id: Mapped[int] = mapped_column(ForeignKey("association.id"), primary_key=True)
    last_at: Mapped[float]


class Refusal(Base):
    """One image that was begun or offered and is not kept: refused, or cut off. Names are empty where it told none."""

    __tablename__ = "refusal"

    id: Mapped[int] = mapped_column(primary_key=True)
    series_instance_uid: Mapped[str] = mapped_column(index=True)
    sop_instance_uid: Mapped[str] = mapped_column(index=True)
    association_id: Mapped[int] = mapped_column(ForeignKey("association.id"), index=True)
    at: Mapped[float]


class Instance(Base):
    """One received object. Of those KEPT there is one per SOP Instance UID."""

    __tablename__ = "instance"
    __table_args__ = (
        Index("one_kept_instance", "sop_instance_uid", unique=True, sqlite_where=KEPT, postgresql_where=KEPT),
        Index("removed_instance", "sop_instance_uid", sqlite_where=REMOVED, postgresql_where=REMOVED),
        Index("instance_of_series", "series_id", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    association_id: Mapped[int | None] = mapped_column(ForeignKey("association.id"))
    sop_instance_uid: Mapped[str]
    sop_class_uid: Mapped[str]
    path: Mapped[str]
    sha256: Mapped[str]
    size: Mapped[int]
    identity_sha256: Mapped[str | None]
    geometry_sha256: Mapped[str | None]
    pixel_sha256: Mapped[str | None]
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    state: Mapped[InstanceState] = mapped_column(default=InstanceState.KEPT)
    received_at: Mapped[float]
    host: Mapped[str] = mapped_column(default="", server_default="")
    """Which of several hosts has the file. Empty where all share one storage, or there is one."""
    repeated_in: Mapped[int | None]
    """The association that brought the same object again, the last one."""

    series: Mapped[Series] = relationship(back_populates="instances")


class Job(Base):
    """One series, one bundle, one run. Its instances are those KEPT in the series up to `last_instance_id`."""

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("series_id", "bundle", "last_instance_id", "run", name="one_job_per_run"),
        Index("job_by_state", "state", "id", "shadow"),
        Index("job_by_state_and_time", "state", "updated_at"),
        Index("job_of_series_sent", "series_id", "no_send"),
        Index(
            "job_by_source", "route", "bundle", "bundle_digest", "id", sqlite_where=NO_SHADOW, postgresql_where=WANTED
        ),
        Index("job_by_time", "created_at"),
        Index("job_superseded", "supersedes_id", sqlite_where=SUPERSEDES, postgresql_where=SUPERSEDES),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    last_instance_id: Mapped[int]
    bundle: Mapped[str]
    bundle_digest: Mapped[str | None]
    route: Mapped[str]
    run: Mapped[int] = mapped_column(default=1)
    """1, and one more for every `rerun` of the same series, instances and bundle."""
    no_send: Mapped[bool] = mapped_column(default=False)
    shadow: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Made by a candidate beside the serving bundle: for comparison alone, never sent and never a case's result."""
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))
    state: Mapped[JobState] = mapped_column(default=JobState.QUEUED)
    error: Mapped[str | None]
    releasable: Mapped[bool] = mapped_column(default=True)
    released_by: Mapped[str | None]
    """Who let a HELD job go on. The gates of its images then report, and hold no more."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Worker deaths and time-outs that this job has cost while the supervisor lived."""
    lease_owner: Mapped[str | None]
    lease_token: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """Grows with every claim. Whoever writes for a worker names it: a worker that was thought dead has an older one."""
    lease_until: Mapped[float | None]
    """Until when the worker is heard of, by the database's clock."""
    stage: Mapped[str | None]
    beats: Mapped[int] = mapped_column(default=0)
    """Grows with every step of progress. The supervisor times the pauses with its own monotonic clock."""
    heartbeat_at: Mapped[float | None]
    started_at: Mapped[float | None]
    put_offs: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """How often in a row it was put off, since what it needs was not there."""
    not_before: Mapped[float | None]
    """Until when it is left alone then, by the database's clock."""
    behind: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """The newest job of that moment: all up to it go first."""
    verdicts: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    """What each gate said: {gate, verdict, reasons}."""
    rois: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    flags: Mapped[dict[str, str]] = mapped_column(default=dict)
    seconds: Mapped[dict[str, float]] = mapped_column(default=dict)
    rtstruct_path: Mapped[str | None]
    rtstruct_sop_instance_uid: Mapped[str | None]
    rtstruct_sha256: Mapped[str | None]
    host: Mapped[str] = mapped_column(default="", server_default="")
    """Which of several hosts keeps the result, as `Instance.host`."""
    created_at: Mapped[float]
    updated_at: Mapped[float]

    series: Mapped[Series] = relationship(back_populates="jobs")
    deliveries: Mapped[list["Delivery"]] = relationship(back_populates="job", order_by="Delivery.id")


class Delivery(Base):
    """One job's RTSTRUCT on its way to one destination."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("job_id", "destination"),
        Index("delivery_due", "destination", "state"),
        Index("delivery_by_state", "state", "job_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    destination: Mapped[str]
    state: Mapped[DeliveryState] = mapped_column(default=DeliveryState.WAITING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[float | None]
    last_attempt_at: Mapped[float | None]
    planned_seconds: Mapped[float] = mapped_column(default=0.0)
    """The pause that was planned after the last attempt."""
    refused: Mapped[bool] = mapped_column(default=False)
    """Whether the last attempt was answered, by a refusal."""
    waited_seconds: Mapped[float] = mapped_column(default=0.0)
    """Time really waited between attempts, added up. Giving up counts this and no clock's jumps."""
    refused_seconds: Mapped[float] = mapped_column(default=0.0)
    """The part of it during which the destination answered, and refused."""
    last_status: Mapped[int | None]
    last_comment: Mapped[str | None]
    images_sent: Mapped[list[str]] = mapped_column(default=list)
    """SOP Instance UIDs of the CT that this destination has accepted (send_images)."""
    commitment_uid: Mapped[str | None] = mapped_column(unique=True)
    """Transaction UID of the storage commitment asked for."""
    commitment_asked_at: Mapped[float | None]
    sent_at: Mapped[float | None]
    created_at: Mapped[float]
    updated_at: Mapped[float]

    job: Mapped[Job] = relationship(back_populates="deliveries")


class Event(Base):
    """What happened, in order. Written in the transaction that did it."""

    __tablename__ = "event"
    __table_args__ = (Index("event_of", "subject", "subject_id"), Index("event_by_who", "who", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    subject: Mapped[str]
    """series, job, delivery or daemon."""
    subject_id: Mapped[int | None]
    what: Mapped[str]
    from_state: Mapped[str | None]
    to_state: Mapped[str | None]
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    who: Mapped[str]


class Alarm(Base):
    """Something a person must know. One per `key`. Sent once by log, webhook and mail, until it is acknowledged."""

    __tablename__ = "alarm"
    __table_args__ = (
        Index("alarm_unsent", "id", sqlite_where=UNSENT, postgresql_where=UNSENT),
        Index("alarm_unseen", "id", sqlite_where=UNSEEN, postgresql_where=UNSEEN),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    kind: Mapped[str]
    key: Mapped[str] = mapped_column(unique=True)
    message: Mapped[str]
    sent_at: Mapped[float | None]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    """Why the last attempt did not reach every channel, with host and code."""
    acknowledged_at: Mapped[float | None]
    acknowledged_by: Mapped[str | None]


class Destination(Base):
    """What the last probe or send said of a destination."""

    __tablename__ = "destination"

    name: Mapped[str] = mapped_column(primary_key=True)
    up: Mapped[bool]
    since: Mapped[float]
    checked_at: Mapped[float]
    error: Mapped[str | None]


class RejectedCaller(Base):
    """One caller whose associations were rejected for one reason. Titles are empty if it came no further than TLS."""

    __tablename__ = "rejected_caller"
    __table_args__ = (
        UniqueConstraint("calling_ae", "called_ae", "host", "reason", name="one_row_per_rejected_caller"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    calling_ae: Mapped[str]
    called_ae: Mapped[str]
    host: Mapped[str]
    reason: Mapped[str]
    count: Mapped[int]
    first_at: Mapped[float]
    last_at: Mapped[float]


class Process(Base):
    """A child of the supervisor on one host, as `status` shows it."""

    __tablename__ = "process"

    host: Mapped[str] = mapped_column(primary_key=True, default="")
    name: Mapped[str] = mapped_column(primary_key=True)
    pid: Mapped[int | None]
    state: Mapped[str]
    restarts: Mapped[int] = mapped_column(default=0)
    updated_at: Mapped[float]
    detail: Mapped[str | None]


class Setting(Base):
    """Single facts, such as when listening last began."""

    __tablename__ = "setting"

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
