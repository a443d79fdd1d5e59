"""What the receiver and the assembler write: associations, arrivals and the state of series."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger.events import raise_alarm, record_event
from rtseg_daemon.ledger.jobs import hold_undelivered
from rtseg_daemon.ledger.schema import Association, Instance, Series, SeriesAssociation, Setting
from rtseg_daemon.ledger.states import SERIES_TRANSITIONS, Ending, InstanceState, SeriesState


@dataclass(frozen=True)
class Arrival:
    """One object that lies durably on disk and is about to be acknowledged.

    Args:
        path: relative to the storage directory, named by digest and never by a UID.
        sha256: of the file as stored.
        identity_sha256: digest of what says whose it is (PatientID, name, birth date, study, frame of reference).
        geometry_sha256: digest of position, orientation, spacing, matrix and rescale.
        pixel_sha256: digest of the decoded pixels; None where nobody decoded them (then the raw bytes' digest serves).
        facts: what assembly wants to know without opening the file again (position, ImageType, ...); no names.
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
    geometry_sha256: str | None = None
    pixel_sha256: str | None = None
    body_part: str = ""
    description: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Repeat(StrEnum):
    """What an arrival is to the object already kept under its SOP Instance UID."""

    NEW = "NEW"  # there is none
    DUPLICATE = "DUPLICATE"  # the same object; other encoding or unimportant tags at most
    IDENTITY_DIFFERS = "IDENTITY_DIFFERS"  # a demographic correction or a mix-up
    CONTENT_DIFFERS = "CONTENT_DIFFERS"  # other geometry or other pixels


def compare(known: Instance | None, arrival: Arrival) -> Repeat:
    """Identity first, then geometry and pixels, never the bytes: encoding alone makes no other object.

    An object whose file retention has removed is NEW again, in whatever series, but not as another patient's or of
    another place: what was made of it may lie in a planning system under the same UIDs.
    """
    if known is None:
        return Repeat.NEW
    return compare_removed(known, arrival) if known.state is InstanceState.REMOVED else compare_kept(known, arrival)


def compare_removed(known: Instance, arrival: Arrival) -> Repeat:
    """An arrival with what the ledger remembers of an object whose file is gone; its pixels cannot be compared."""
    if known.identity_sha256 != arrival.identity_sha256:
        return Repeat.IDENTITY_DIFFERS
    return Repeat.NEW if known.geometry_sha256 == arrival.geometry_sha256 else Repeat.CONTENT_DIFFERS


def compare_kept(kept: Instance, arrival: Arrival) -> Repeat:
    """An arrival with an object on disk."""
    if kept.sha256 == arrival.sha256:
        return Repeat.DUPLICATE
    if (
        kept.identity_sha256 != arrival.identity_sha256
        or kept.series.series_instance_uid != arrival.series_instance_uid
    ):
        return Repeat.IDENTITY_DIFFERS
    same = (kept.geometry_sha256, kept.pixel_sha256) == (arrival.geometry_sha256, arrival.pixel_sha256)
    return Repeat.DUPLICATE if same else Repeat.CONTENT_DIFFERS


def open_association(session: Session, calling_ae: str, calling_host: str, *, at: float | None = None) -> int:
    """Row for an accepted association; its id goes into the arrivals it brings."""
    moment = time.time() if at is None else at
    association = Association(calling_ae=calling_ae, calling_host=calling_host, opened_at=moment)
    session.add(association)
    session.flush()
    return association.id


def end_association(session: Session, association_id: int, ending: Ending, *, at: float | None = None) -> None:
    """Say how an association ended (RELEASED, IDLE or ABORTED)."""
    moment = time.time() if at is None else at
    session.execute(update(Association).where(Association.id == association_id).values(ending=ending, ended_at=moment))


def resume_listening(session: Session, *, at: float | None = None, pid: int | None = None) -> int:
    """To be called when the receiver `pid` starts: associations still OPEN have DIED, the quiet clock starts anew.

    Returns how many had died. See `listening_since` and `listener`.
    """
    moment = time.time() if at is None else at
    died = update(Association).where(Association.ending == Ending.OPEN).values(ending=Ending.DIED, ended_at=moment)
    count: int = session.connection().execute(died).rowcount
    session.merge(Setting(key="listening_since", value=repr(moment)))
    session.merge(Setting(key="listener", value=str(pid or "")))
    return count


def listening_since(session: Session) -> float:
    """When listening last began; silence before that means nothing. 0.0 if it never did."""
    setting = session.get(Setting, "listening_since")
    return float(setting.value) if setting else 0.0


def listener(session: Session) -> int | None:
    """Process id of the receiver that last began to listen."""
    setting = session.get(Setting, "listener")
    return int(setting.value) if setting and setting.value else None


@dataclass(frozen=True)
class Recorded:
    """What became of one arrival; its path is empty where its file is not needed (a duplicate's)."""

    arrival: Arrival
    repeat: Repeat
    series_id: int


def record_instances(session: Session, arrivals: Sequence[Arrival]) -> list[Recorded]:
    """Enter arrivals, in order, in the caller's one transaction (the group commit).

    A NEW one becomes an instance and opens its series again where that was closed. A DUPLICATE touches the clock and
    association of its series, and opens it again where that was UNROUTED; the caller may delete its file. One whose
    identity or content DIFFERS is entered as QUARANTINED with its path; its series and its undelivered jobs are
    HELD, not releasable, with an alarm.
    """
    return [_record(session, arrival) for arrival in arrivals]


def _record(session: Session, arrival: Arrival) -> Recorded:
    known = known_instance(session, arrival.sop_instance_uid)
    repeat = compare(known, arrival)
    series = known.series if known is not None and repeat is not Repeat.NEW else _series_for(session, arrival)
    _touch(session, series, arrival)
    if repeat in (Repeat.IDENTITY_DIFFERS, Repeat.CONTENT_DIFFERS):
        _add_instance(session, series, arrival, InstanceState.QUARANTINED)
        _hold_for_conflict(session, series, arrival, repeat)
        if arrival.series_instance_uid != series.series_instance_uid:  # it lacks an image that another series has
            _hold_for_conflict(session, _series_for(session, arrival), arrival, repeat)
    elif repeat is Repeat.NEW:
        _add_instance(session, series, arrival, InstanceState.KEPT)
        _reopen(session, series, "new slice", arrival.received_at)
    elif series.state is SeriesState.UNROUTED:
        _reopen(session, series, "sent again", arrival.received_at)
    return Recorded(arrival, repeat, series.id)


def kept_instance(session: Session, sop_instance_uid: str) -> Instance | None:
    """The object held under this SOP Instance UID."""
    query = select(Instance).where(Instance.sop_instance_uid == sop_instance_uid, Instance.state == InstanceState.KEPT)
    return session.scalars(query).one_or_none()


def known_instance(session: Session, sop_instance_uid: str) -> Instance | None:
    """The object held under this SOP Instance UID, or the last one that retention removed."""
    removed = (
        select(Instance)
        .where(Instance.sop_instance_uid == sop_instance_uid, Instance.state == InstanceState.REMOVED)
        .order_by(Instance.id.desc())
        .limit(1)
    )
    return kept_instance(session, sop_instance_uid) or session.scalars(removed).one_or_none()


def _series_for(session: Session, arrival: Arrival) -> Series:
    query = select(Series).where(Series.series_instance_uid == arrival.series_instance_uid)
    series = session.scalars(query).one_or_none()
    if series is None:
        series = Series(
            series_instance_uid=arrival.series_instance_uid,
            study_instance_uid=arrival.study_instance_uid,
            patient_id=arrival.patient_id,
            modality=arrival.modality,
            calling_ae=arrival.calling_ae,
            calling_host=arrival.calling_host,
            body_part=arrival.body_part,
            description=arrival.description,
            state=SeriesState.OPEN,
            reasons=[],
            releasable=True,
            first_received_at=arrival.received_at,
            last_received_at=arrival.received_at,
            updated_at=arrival.received_at,
        )
        session.add(series)
        session.flush()
        record_event(session, "series", series.id, "first slice", to_state=SeriesState.OPEN, at=arrival.received_at)
    return series


def _touch(session: Session, series: Series, arrival: Arrival) -> None:
    series.last_received_at = max(series.last_received_at, arrival.received_at)
    if arrival.association_id is None:
        return
    key = {"series_id": series.id, "association_id": arrival.association_id}
    row = session.get(SeriesAssociation, key)
    if row is None:
        session.add(SeriesAssociation(**key, last_at=arrival.received_at))
    else:
        row.last_at = arrival.received_at


def _add_instance(session: Session, series: Series, arrival: Arrival, state: InstanceState) -> None:
    session.add(
        Instance(
            series_id=series.id,
            association_id=arrival.association_id,
            sop_instance_uid=arrival.sop_instance_uid,
            sop_class_uid=arrival.sop_class_uid,
            path=arrival.path,
            sha256=arrival.sha256,
            size=arrival.size,
            identity_sha256=arrival.identity_sha256,
            geometry_sha256=arrival.geometry_sha256,
            pixel_sha256=arrival.pixel_sha256,
            facts=arrival.facts,
            state=state,
            received_at=arrival.received_at,
        )
    )
    session.flush()


def _reopen(session: Session, series: Series, what: str, at: float) -> None:
    """Open a closed series again, unless a conflict closed it for good."""
    if series.state is not SeriesState.OPEN and series.releasable:
        move_series(session, series.id, SeriesState.OPEN, what=what, at=at)


def _hold_for_conflict(session: Session, series: Series, arrival: Arrival, repeat: Repeat) -> None:
    reason = {
        Repeat.IDENTITY_DIFFERS: "an object came again under the same UID with another patient, study or frame of "
        "reference; find out which is right, and send the series again under new UIDs",
        Repeat.CONTENT_DIFFERS: "an object came again under the same UID with other geometry or pixels; the second "
        "copy is in quarantine; find out which is right, and send the series again under new UIDs",
    }[repeat]
    hold_series(session, series.id, [reason], releasable=False, at=arrival.received_at)
    hold_undelivered(session, series.id, reason, releasable=False, at=arrival.received_at)
    raise_alarm(session, "conflict", f"conflict:{series.id}:{repeat}", f"series {series.id}: {reason}")


def move_series(
    session: Session,
    series_id: int,
    to: SeriesState,
    *,
    what: str,
    who: str = "daemon",
    reasons: Sequence[str] = (),
    releasable: bool | None = None,
    at: float | None = None,
) -> None:
    """Take a series to another state with its event; raises StateError where the table does not allow it."""
    moment = time.time() if at is None else at
    series = session.get_one(Series, series_id)
    before = series.state
    values: dict[str, Any] = {"state": to, "reasons": list(reasons), "updated_at": moment}
    if releasable is not None:
        values["releasable"] = releasable
    allowed = [state for state, after in SERIES_TRANSITIONS.items() if to in after]
    guarded = update(Series).where(Series.id == series_id, Series.state.in_(allowed)).values(**values)
    if session.connection().execute(guarded).rowcount == 0:
        raise StateError(f"series {series_id} is {before} and cannot become {to}")
    session.refresh(series)
    detail = {"reasons": list(reasons)} if reasons else {}
    record_event(session, "series", series_id, what, from_state=before, to_state=to, detail=detail, who=who, at=moment)


def hold_series(
    session: Session, series_id: int, reasons: Sequence[str], *, releasable: bool = True, at: float | None = None
) -> None:
    """HELD with reasons; on a series already held the reasons are added to. Once not releasable, never again."""
    series = session.get_one(Series, series_id)
    together = list(dict.fromkeys([*(series.reasons if series.state is SeriesState.HELD else []), *reasons]))
    lasting = releasable and series.releasable
    if series.state is SeriesState.HELD:
        if together == series.reasons and lasting == series.releasable:
            return
        series.reasons, series.releasable = together, lasting
        record_event(session, "series", series_id, "held", detail={"reasons": list(reasons)}, at=at)
    else:
        move_series(session, series_id, SeriesState.HELD, what="held", reasons=together, releasable=lasting, at=at)


def open_series(session: Session) -> Sequence[Series]:
    """Series that the completeness sweep must look at: OPEN ones, oldest first."""
    return session.scalars(select(Series).where(Series.state == SeriesState.OPEN).order_by(Series.id)).all()


def expect(session: Session, series_id: int, count: int, newest: int) -> None:
    """Remember how many images a query peer says the series has, and the newest instance when it was asked."""
    series = session.get_one(Series, series_id)
    series.counted_instance_id = newest
    if series.expected_count != count:
        series.expected_count = count
        record_event(session, "series", series_id, "the PACS told the count", detail={"count": count})


def kept_instances(session: Session, series_id: int, *, up_to: int | None = None) -> Sequence[Instance]:
    """KEPT instances of a series in order of arrival; with `up_to`, those a job of that `last_instance_id` is about."""
    query = select(Instance).where(Instance.series_id == series_id, Instance.state == InstanceState.KEPT)
    if up_to is not None:
        query = query.where(Instance.id <= up_to)
    return session.scalars(query.order_by(Instance.id)).all()


def last_instance_id(session: Session, series_id: int) -> int:
    """The newest KEPT instance's id: what a job made now is about. 0 if there is none."""
    query = select(func.max(Instance.id)).where(Instance.series_id == series_id, Instance.state == InstanceState.KEPT)
    return session.scalar(query) or 0


def associations_of(session: Session, series_id: int) -> Sequence[Association]:
    """The associations that carried slices of a series, oldest first."""
    query = (
        select(Association)
        .join(SeriesAssociation, SeriesAssociation.association_id == Association.id)
        .where(SeriesAssociation.series_id == series_id)
        .order_by(Association.id)
    )
    return session.scalars(query).all()
