"""What the receiver and the assembler write: associations, arrivals and the state of series."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.events import raise_alarm, record_event
from rtseg_daemon.ledger.jobs import hold_undelivered
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.schema import Instance, Series, SeriesAssociation
from rtseg_daemon.ledger.series import hold_series, known_instance
from rtseg_daemon.ledger.states import InstanceState, SeriesState


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
