"""The short way for what almost every arrival is: a new object of an open series that its association brought before.

Reception commits one transaction per object at worst, and the full bookkeeping of `reception.record_instances` costs
several times the rest of it. Here one statement asks and one writes; whatever is out of the ordinary is left to the
long way. When a series was last heard of is written once a second and at the association's end.
"""

from sqlalchemy import Engine, bindparam, case, insert, select, update
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.reception import Arrival
from rtseg_daemon.ledger.schema import Instance, Series, SeriesAssociation, Setting
from rtseg_daemon.ledger.states import InstanceState, SeriesState

ROOM_BYTES = 5_000_000
KEPT = select(Instance.id).where(Instance.sop_instance_uid == bindparam("sop"), Instance.state == InstanceState.KEPT)
REMOVED = select(Instance.id).where(
    Instance.sop_instance_uid == bindparam("sop"), Instance.state == InstanceState.REMOVED
)
ORDINARY = select(Series.id).where(
    Series.series_instance_uid == bindparam("series"),
    Series.state == SeriesState.OPEN,
    ~KEPT.exists(),
    ~REMOVED.exists(),
)
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
            (Series.last_received_at < bindparam("moment"), bindparam("moment")), else_=Series.last_received_at
        )
    )
)
ADD = insert(Instance.__table__)  # type: ignore[arg-type]


def make_room(engine: Engine) -> None:
    """Let SQLite's log have its full length from the start: a commit then changes no file's size, which costs less.

    The log is written from its beginning again after some 1000 pages; it keeps its length while the daemon runs.
    """
    for value in ("0" * ROOM_BYTES, ""):
        with writing(engine) as session:
            session.merge(Setting(key="room", value=value))


def open_series_of_new(session: Session, arrival: Arrival) -> int | None:
    """The id of the arrival's series, if that is open and the object is new; else None."""
    asked = {"series": arrival.series_instance_uid, "sop": arrival.sop_instance_uid}
    found = session.connection().execute(ORDINARY, asked).first()
    return None if found is None else int(found.id)


def add_instance(session: Session, series_id: int, arrival: Arrival) -> None:
    """Enter an arrival of `open_series_of_new`, now that its file has its name."""
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
            "state": InstanceState.KEPT,
            "received_at": arrival.received_at,
        },
    )


def touch(session: Session, series_id: int, association_id: int, moment: float) -> None:
    """Note that the association brought something of the series at `moment`."""
    connection = session.connection()
    connection.execute(TOUCH_ASSOCIATION, {"s": series_id, "a": association_id, "moment": moment})
    connection.execute(TOUCH_SERIES, {"s": series_id, "moment": moment})
