"""What a person wants to be told at once: jobs HELD or FAILED, series that no route took, bundles switched."""

from collections.abc import Collection, Iterator

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.schema import Alarm, Event, Job, Series
from rtseg_daemon.ledger.states import JobState, SeriesState

LOOK_BACK_SECONDS = 86400.0
"""What came to this state earlier is told no more: the setting may be new, and the backlog long."""
LONGEST_REASON = 300
ACTIVATED, BUNDLE = "ACTIVATED", "bundle"
"""Beside the states, and what its events are about."""
Found = tuple[str, str, str]
"""Kind, key and message of an alarm."""


def raise_new(engine: Engine, states: Collection[str], now: float) -> int:
    """Raise an alarm for each job or series that came to one of `states` and was not told. Returns how many."""
    if not states:
        return 0
    with reading(engine) as session:
        found = [*reached(session, states, now - LOOK_BACK_SECONDS)]
        known = set(session.scalars(select(Alarm.key).where(Alarm.key.in_([key for _, key, _ in found]))))
    new = [one for one in found if one[1] not in known]
    for kind, key, message in new:
        with writing(engine) as session:
            raise_alarm(session, kind, key, message, at=now)
    return len(new)


def reached(session: Session, states: Collection[str], since: float) -> Iterator[Found]:
    """Everything that is in one of `states` and changed since then."""
    if JobState.HELD in states:
        for job in jobs_in(session, JobState.HELD, since):
            decide = f"look at it with `rtseg-daemon jobs show {job.id}`, then release or cancel it"
            message = f"job {job.id} is HELD: {shortened(job.error)}; {decide}"
            yield "held", f"held:{job.id}:{int(job.updated_at)}", message
    if JobState.FAILED in states:
        for job in jobs_in(session, JobState.FAILED, since):
            # the reason may be a destination's own words, which may name the patient
            message = f"job {job.id} is FAILED; `rtseg-daemon jobs show {job.id}` says why"
            yield "failed", f"failed:{job.id}:{int(job.updated_at)}", message
    if ACTIVATED in states:
        yield from switched(session, since)
    if SeriesState.UNROUTED in states:
        unrouted = select(Series).where(Series.state == SeriesState.UNROUTED, Series.updated_at >= since)
        for series in session.scalars(unrouted.order_by(Series.id)):
            why = shortened("; ".join(series.reasons))
            message = f"series {series.id} is UNROUTED: {why}; `rtseg-daemon series show {series.id}`"
            yield "unrouted", f"unrouted:{series.id}:{int(series.updated_at)}", message


def switched(session: Session, since: float) -> Iterator[Found]:
    """Bundles of which another version serves, by activation or rollback."""
    query = select(Event).where(Event.subject == BUNDLE, Event.at >= since).order_by(Event.id)
    for event in session.scalars(query):
        told = event.detail
        before = f" (before: {told['before']})" if told.get("before") else ""
        message = (
            f"{told['bundle']} {told['after']} serves{before}: {event.what} by {event.who}, {shortened(told['why'])}; "
            f"`rtseg-daemon models show {told['bundle']}`"
        )
        yield "activated", f"activated:{told['bundle']}:{told['number']}:{told['digest'][:12]}", message


def jobs_in(session: Session, state: JobState, since: float) -> Iterator[Job]:
    """Of shadows nobody is told: they wait for nobody."""
    query = select(Job).where(Job.state == state, Job.updated_at >= since, ~Job.shadow)
    yield from session.scalars(query.order_by(Job.id))


def shortened(reason: str | None) -> str:
    text = reason or "no reason given"
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."
