"""The events of a job and its deliveries tell their whole history, since states change in one place only."""

import ast
from collections.abc import Iterator, Mapping
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

import rtseg_daemon
from rtseg_daemon.ledger import decisions, deliveries, jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.leases import Lease
from rtseg_daemon.ledger.schema import Delivery, Event, Job
from rtseg_daemon.ledger.states import DELIVERY_TRANSITIONS, JOB_TRANSITIONS, DeliveryState, JobState
from tests.unit.ledger.test_jobs import MARKED, OUTCOME, claim, new_job

PACKAGE = Path(rtseg_daemon.__file__).parent


def eventful_life(ledger: Engine) -> tuple[int, int, int]:
    """A job that is held, released to one of two destinations, refused there, retried, held, released and cancelled.

    Returns its number and those of its deliveries to a and b. Each step comes a second after the one before it.
    """
    seconds = count(2000)
    job_id = new_job(ledger, at=next(seconds))
    claim(ledger)
    with writing(ledger) as session:
        job = jobs.finish_segmentation(session, Lease(job_id, "w1", 1), OUTCOME, ["a", "b"], at=next(seconds))
        series_id, (a, b) = job.series_id, [one.id for one in job.deliveries]
    with writing(ledger) as session:
        jobs.hold_undelivered(session, series_id, "new slices", releasable=True, at=next(seconds))
        decisions.release(session, job_id, "anna", "looked at it", ["a"], marked=MARKED, at=next(seconds))
        deliveries.begin_delivery(session, a, at=next(seconds))
        deliveries.record_failed(session, a, 0xA900, "refused", "refused", at=next(seconds))
        decisions.retry(session, job_id, "anna", at=next(seconds))
        jobs.hold_undelivered(session, series_id, "new slices", releasable=True, at=next(seconds))
    with writing(ledger) as session:
        decisions.release(session, job_id, "anna", "looked again", ["a", "b"], marked=MARKED, at=next(seconds))
        deliveries.begin_delivery(session, b, at=next(seconds))
        deliveries.record_sent(session, b, 0, None, at=next(seconds))
        jobs.cancel(session, job_id, "anna", "wrong patient position", at=next(seconds))
    return job_id, a, b


def history(events: list[Event], transitions: Mapping[Any, frozenset[Any]]) -> str:
    """The states one after the other, from the events alone; fails where a step is missing or not in the table."""
    moves = [event for event in events if event.to_state is not None]
    assert moves[0].from_state is None, "it began with an event"
    for earlier, later in pairwise(moves):
        assert later.from_state == earlier.to_state, f"nothing tells how it became {later.from_state}"
        assert later.to_state in transitions[later.from_state]
    return " ".join(str(event.to_state) for event in moves)


def test_the_history_of_a_job_and_of_its_deliveries_is_told_by_their_events_alone(ledger: Engine) -> None:
    job_id, a, b = eventful_life(ledger)
    with reading(ledger) as session:
        job = history([*events_of(session, "job", job_id)], JOB_TRANSITIONS)
        to_a, to_b = [history([*events_of(session, "delivery", one)], DELIVERY_TRANSITIONS) for one in (a, b)]
    assert job == (
        "QUEUED RUNNING SEGMENTED HELD SEGMENTED DELIVERING FAILED DELIVERING HELD SEGMENTED DELIVERING CANCELLED"
    )
    assert to_a == "WAITING CANCELLED WAITING SENDING FAILED WAITING CANCELLED WAITING CANCELLED"
    assert to_b == "WAITING CANCELLED WAITING SENDING SENT"


def test_the_last_event_is_of_the_state_and_the_time_that_the_row_has(ledger: Engine) -> None:
    job_id, a, b = eventful_life(ledger)
    with reading(ledger) as session:
        rows = [("job", session.get_one(Job, job_id)), *(("delivery", session.get_one(Delivery, k)) for k in (a, b))]
        for subject, row in rows:
            last = [event for event in events_of(session, subject, row.id) if event.to_state is not None][-1]
            assert (last.to_state, last.at) == (row.state, row.updated_at)
            assert isinstance(row.state, JobState | DeliveryState)


def test_events_of_deliveries_name_their_destination_and_who_caused_them(ledger: Engine) -> None:
    _, a, b = eventful_life(ledger)
    with reading(ledger) as session:
        for delivery, name in ((a, "a"), (b, "b")):
            assert {event.detail["destination"] for event in events_of(session, "delivery", delivery)} == {name}
        last = events_of(session, "delivery", a)[-1]
    assert (last.what, last.who, last.detail["why"]) == ("cancelled", "anna", "wrong patient position")


@pytest.mark.parametrize("how", ["by a person", "by the destination"])
def test_an_attempt_that_is_brought_forward_leaves_an_event_and_changes_no_state(ledger: Engine, how: str) -> None:
    job_id = new_job(ledger)
    claim(ledger)
    with writing(ledger) as session:
        later, due = [
            one.id
            for one in jobs.finish_segmentation(
                session, Lease(job_id, "w1", 1), OUTCOME, ["a", "b"], at=10.0
            ).deliveries
        ]
        deliveries.begin_delivery(session, later, at=11.0)
        deliveries.record_again(
            session, later, None, "no answer", refused=False, next_attempt_at=500.0, waited_seconds=0.0,
            refused_seconds=0.0, at=12.0,
        )  # fmt: skip
    with writing(ledger) as session:
        if how == "by a person":
            deliveries.retry_delivery(session, later, "anna", at=20.0)
        else:
            assert deliveries.wake_destination(session, "a", at=20.0) == 1
            assert deliveries.wake_destination(session, "b", at=20.0) == 0, "it is due as it is"
    with reading(ledger) as session:
        row, last = session.get_one(Delivery, later), events_of(session, "delivery", later)[-1]
        assert (row.state, row.next_attempt_at, row.updated_at) == (DeliveryState.WAITING, 20.0, 20.0)
        told = ("retried", "anna") if how == "by a person" else ("destination answers", "daemon")
        assert (last.what, last.who, last.to_state, last.at) == (*told, None, 20.0)
        assert [event.what for event in events_of(session, "delivery", due)] == ["created"]


def writes_of_state(tree: ast.Module) -> Iterator[str]:
    """Every assignment to an attribute `state`, and every `values(state=...)`, as it stands in the source."""
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        given = [target for target in targets if target is not None]
        parts = [part for target in given for part in getattr(target, "elts", [target])]
        if any(isinstance(part, ast.Attribute) and part.attr == "state" for part in parts):  # not `app.state.x = y`
            yield ast.unparse(node)
        called = node.keywords if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "values" else []
        if any(keyword.arg == "state" for keyword in called):
            yield "values(state=...)"


def test_no_state_is_written_but_by_a_guarded_move() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), write)
        for path in PACKAGE.rglob("*.py")
        for write in writes_of_state(ast.parse(path.read_text()))
    }
    files = ("upkeep/retention.py", "instance.state = InstanceState.REMOVED")  # an instance has no transitions
    assert found == {("ledger/moves.py", "values(state=...)"), files}


@pytest.mark.parametrize("source", ["delivery.state = x", "a.b, c.state = x", "update(D).values(n=1, state=x)"])
def test_the_search_for_written_states_finds_each_way_to_write_one(source: str) -> None:
    assert list(writes_of_state(ast.parse(source)))
