"""What an arrival does to its series: new slices open it, duplicates are noted, contradictions hold it for good."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.arrivals import Arrival, add_instance, heard_at
from rtseg_daemon.ledger.events import raise_alarm, record_event
from rtseg_daemon.ledger.jobs import hold_undelivered
from rtseg_daemon.ledger.moves import move_series
from rtseg_daemon.ledger.recognition import Recognised, Repeat, what_differs
from rtseg_daemon.ledger.schema import Series, SeriesAssociation
from rtseg_daemon.ledger.series import hold_series
from rtseg_daemon.ledger.states import InstanceState, SeriesState


@dataclass(frozen=True)
class Recorded:
    """What became of one arrival. Its path is empty where its file is not needed (a duplicate's)."""

    arrival: Arrival
    repeat: Repeat
    series_id: int


def enter(session: Session, arrival: Arrival, seen: Recognised) -> Recorded:
    """Enter an arrival as what it was recognised as (not UNDECIDED), with all that follows for its series.

    A NEW one becomes an instance and opens its series again where that was closed. A DUPLICATE touches the clock and
    association of its series, is noted at its instance, and opens the series again where that was UNROUTED. The caller
    may delete its file. One whose
    identity or content DIFFERS is entered as QUARANTINED with its path. Its series and its undelivered jobs are
    HELD, not releasable, with an alarm.
    """
    repeat, known = seen.repeat, seen.known
    assert repeat is not Repeat.UNDECIDED
    series = known.series if known is not None and repeat is not Repeat.NEW else _series_for(session, arrival)
    _touch(session, series, arrival)
    if repeat in (Repeat.IDENTITY_DIFFERS, Repeat.CONTENT_DIFFERS):
        what = what_differs(known, arrival) if known is not None else ""
        add_instance(session, series.id, arrival, InstanceState.QUARANTINED)
        _hold_for_conflict(session, series, arrival, repeat, what)
        if arrival.series_instance_uid != series.series_instance_uid:  # it lacks an image that another series has
            _hold_for_conflict(session, _series_for(session, arrival), arrival, repeat, what)
    elif repeat is Repeat.NEW:
        add_instance(session, series.id, arrival)
        _reopen(session, series, "new slice", arrival.received_at)
    else:
        if known is not None and arrival.association_id is not None:
            known.repeated_in = arrival.association_id
        if series.state is SeriesState.UNROUTED:
            _reopen(session, series, "sent again", arrival.received_at)
    session.flush()  # the next arrival of this transaction may write the same rows by plain statements
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
    series.last_received_at = heard_at(series.last_received_at, arrival.received_at)
    series.counted_instance_id = None
    if not series.calling_ae:  # its first images were found in the storage: nobody knows who had sent them
        series.calling_ae, series.calling_host = arrival.calling_ae, arrival.calling_host
    if arrival.association_id is None:
        return
    key = {"series_id": series.id, "association_id": arrival.association_id}
    row = session.get(SeriesAssociation, key)
    if row is None:
        session.add(SeriesAssociation(**key, last_at=arrival.received_at))
    else:
        row.last_at = arrival.received_at


def _reopen(session: Session, series: Series, what: str, at: float) -> None:
    """Open a closed series again, unless a conflict closed it for good."""
    if series.state is not SeriesState.OPEN and series.releasable:
        move_series(session, series.id, SeriesState.OPEN, what=what, at=at)


def _hold_for_conflict(session: Session, series: Series, arrival: Arrival, repeat: Repeat, what: str) -> None:
    reason = {
        Repeat.IDENTITY_DIFFERS: f"an object came again under the same UID with {what}; find out which is right, "
        "and send the series again under new UIDs",
        Repeat.CONTENT_DIFFERS: "an object came again under the same UID with other geometry or pixels; the second "
        "copy is in quarantine; find out which is right, and send the series again under new UIDs",
    }[repeat]
    hold_series(session, series.id, [reason], releasable=False, at=arrival.received_at)
    hold_undelivered(session, series.id, reason, releasable=False, at=arrival.received_at)
    raise_alarm(session, "conflict", f"conflict:{series.id}:{repeat}", f"series {series.id}: {reason}")
