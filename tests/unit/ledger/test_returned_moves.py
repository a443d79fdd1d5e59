"""How a structure set that came back changes its state: by the table alone, with its event."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from rtseg_daemon.errors import StateError
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.moves import move_returned
from rtseg_daemon.ledger.states import RETURNED_TRANSITIONS, Approval, ReturnedState


def enter(session: Session, uid: str = "1.2.3") -> ReturnedSet:
    row = ReturnedSet(
        sop_instance_uid=uid,
        sha256="ab",
        path="returned/ab.dcm",
        size=1,
        calling_ae="TPS",
        calling_host="127.0.0.1",
        came_by="store",
        received_at=1.0,
        updated_at=1.0,
    )
    session.add(row)
    session.flush()
    return row


def test_a_returned_set_is_paired_and_its_event_says_so(ledger: Engine) -> None:
    with writing(ledger) as session:
        row = enter(session)
        assert (row.state, row.approval) == (ReturnedState.RECEIVED, Approval.UNAPPROVED)
        move_returned(session, row.id, ReturnedState.PAIRED, what="paired", at=5.0, label="HN v2")
    with reading(ledger) as session:
        row = session.get_one(ReturnedSet, row.id)
        assert (row.state, row.label, row.updated_at) == (ReturnedState.PAIRED, "HN v2", 5.0)
        [event] = events_of(session, "returned_set", row.id)
        assert (event.what, event.from_state, event.to_state) == ("paired", "RECEIVED", "PAIRED")


def test_what_is_held_apart_says_why_and_is_never_measured_from_there(ledger: Engine) -> None:
    with writing(ledger) as session:
        row = enter(session)
        move_returned(session, row.id, ReturnedState.APART, what="held apart", reasons=["of another patient"])
        with pytest.raises(StateError, match="APART and cannot become MEASURED"):
            move_returned(session, row.id, ReturnedState.MEASURED, what="measured")
        assert row.reasons == ["of another patient"]
        assert events_of(session, "returned_set", row.id)[0].detail == {"reasons": ["of another patient"]}


def test_every_state_of_a_returned_set_has_its_line_in_the_table() -> None:
    assert set(RETURNED_TRANSITIONS) == set(ReturnedState)


def test_an_roi_is_not_measured_and_does_not_count_until_somebody_says_so(ledger: Engine) -> None:
    with writing(ledger) as session:
        session.add(ReturnedRoi(set_id=enter(session).id, number=1, name="Rückenmark"))
    with reading(ledger) as session:
        [roi] = session.query(ReturnedRoi).filter(ReturnedRoi.difference.is_(None))
        assert (roi.name, roi.organ, roi.counts, roi.contours) == ("Rückenmark", None, False, 0)
