"""An arriving object, and the two writes that almost every one needs: its own row, and that its series was heard of.

Reception commits one transaction per object at worst, so these are plain statements. When a series was last heard of is
written once a second and at the association's end.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, bindparam, case, insert, update
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.schema import Instance, Series, SeriesAssociation, Setting
from rtseg_daemon.ledger.states import InstanceState

ROOM_BYTES = 5_000_000
NOTICEABLE_SECONDS = 0.001
"""So much later a series was heard of where a host whose clock is behind says it: the moment must change."""
TOUCH_ASSOCIATION = (
    update(SeriesAssociation.__table__)  # type: ignore[arg-type]
    .where(SeriesAssociation.series_id == bindparam("s"), SeriesAssociation.association_id == bindparam("a"))
    .values(last_at=bindparam("moment"))
)
TOUCH_SERIES = (
    update(Series.__table__)  # type: ignore[arg-type]
    .where(Series.id == bindparam("s"))
    .values(
        last_received_at=case(
            (Series.last_received_at < bindparam("moment"), bindparam("moment")),
            (Series.last_received_at > bindparam("moment"), Series.last_received_at + NOTICEABLE_SECONDS),
            else_=Series.last_received_at,
        )
    )
)
ADD = insert(Instance.__table__)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Arrival:
    """One object that lies durably on disk and is about to be acknowledged.

    Args:
        path: relative to the storage directory, named by digest and never by a UID.
        sha256: of the file as stored.
        identity_sha256: digest of what says whose it is (PatientID, name, birth date, study, frame of reference). It is
            the same for all spellings of a name.
        identity_bytes_sha256: the digest of its bytes, which earlier versions entered.
        geometry_sha256: digest of position, orientation, spacing, matrix and rescale.
        pixel_sha256: digest of the decoded pixels, or None where nobody decoded them (then the raw bytes' digest
            serves).
        host: which of several hosts has the file.
        facts: what assembly wants to know without opening the file again (position, ImageType, ...), but no names. Its
            `identity` has digests of the single parts, to tell which of them differ.
    """

    association_id: int | None
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str
    modality: str
    calling_ae: str
    calling_host: str
    path: str
    sha256: str
    size: int
    received_at: float
    identity_sha256: str | None = None
    identity_bytes_sha256: str | None = None
    geometry_sha256: str | None = None
    pixel_sha256: str | None = None
    body_part: str = ""
    description: str = ""
    host: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def make_room(engine: Engine) -> None:
    """Let SQLite's log have its full length from the start: a commit then changes no file's size, which costs less.

    The log is written from its beginning again after some 1000 pages. It keeps its length while the daemon runs.
    PostgreSQL does so by itself.
    """
    if engine.dialect.name != "sqlite":
        return
    for value in ("0" * ROOM_BYTES, ""):
        with writing(engine) as session:
            session.merge(Setting(key="room", value=value))


def add_instance(session: Session, series_id: int, arrival: Arrival, state: InstanceState = InstanceState.KEPT) -> None:
    """Enter an arrival, now that its file has its name."""
    session.connection().execute(
        ADD,
        {
            "series_id": series_id,
            "association_id": arrival.association_id,
            "sop_instance_uid": arrival.sop_instance_uid,
            "sop_class_uid": arrival.sop_class_uid,
            "path": arrival.path,
            "sha256": arrival.sha256,
            "size": arrival.size,
            "identity_sha256": arrival.identity_sha256,
            "geometry_sha256": arrival.geometry_sha256,
            "pixel_sha256": arrival.pixel_sha256,
            "facts": arrival.facts,
            "state": state,
            "received_at": arrival.received_at,
            "host": arrival.host,
        },
    )


def heard_at(before: float, moment: float) -> float:
    """When a series was last heard of, which was `before`, now that it is heard of at `moment` by some host's clock."""
    return moment if moment >= before else before + NOTICEABLE_SECONDS


def touch(session: Session, series_id: int, association_id: int, moment: float) -> None:
    """Note that the association brought something of the series at `moment`."""
    connection = session.connection()
    connection.execute(TOUCH_ASSOCIATION, {"s": series_id, "a": association_id, "moment": moment})
    connection.execute(TOUCH_SERIES, {"s": series_id, "moment": moment})
