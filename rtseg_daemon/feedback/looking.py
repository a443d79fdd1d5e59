"""A structure set that came back is looked into: what it says, whose it is, on what it was drawn, what it answers."""

import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.feedback import known
from rtseg_daemon.feedback.answered import Answer, answered
from rtseg_daemon.feedback.history import settle_case
from rtseg_daemon.feedback.known import keep_geometry
from rtseg_daemon.feedback.naming import enter_rois, name_rois
from rtseg_daemon.feedback.pairing import Pairing, paired
from rtseg_daemon.feedback.said import Said, read_said
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.moves import move_returned
from rtseg_daemon.ledger.returned import find_returned
from rtseg_daemon.ledger.states import Approval, ReturnedState
from rtseg_daemon.logs import log
from rtseg_daemon.storage import Layout, damage, layout_of
from rtseg_daemon.stored import Files, OwnFiles, Stored, digested

DAY_SECONDS = 86400.0
ALARM = "feedback"


@dataclass(frozen=True)
class Desk:
    """What whoever works on returned sets has at hand."""

    engine: Engine
    config: Config
    other_files: Files | None = None
    """Reads files of other hosts too. None where this host is alone."""

    @property
    def files(self) -> Files:
        return self.other_files or OwnFiles(self.layout)

    def file(self, stored: Stored) -> tuple[Path, str]:
        """Path and SHA-256 of a stored file. Raises HostAway where the host that has it does not answer."""
        return digested(self.files, [stored])[0]

    @property
    def layout(self) -> Layout:
        return layout_of(self.config)

    @property
    def largest_bytes(self) -> int:
        return self.config.feedback.max_object_mb * 10**6 + 10**6


def look_at(desk: Desk, set_id: int) -> ReturnedState:
    """Look into a RECEIVED or WAITING set. Returns the state that it is in afterwards."""
    with reading(desk.engine) as session:
        row = find_returned(session, set_id)
        path = desk.layout.directory / row.path
    try:
        said = read(desk, row, path)
    except StructureSetError as error:
        return hold_apart(desk, set_id, str(error))
    with reading(desk.engine) as session:
        pairing = paired(said, known.candidates(session, desk.files, said))
    with writing(desk.engine) as session:
        state = settle(desk, session, find_returned(session, set_id), said, pairing)
    log().info("a returned structure set was looked at", returned_set=set_id, state=str(state))
    return state


def read(desk: Desk, row: ReturnedSet, path: Path) -> Said:
    """What its file says. Raises StructureSetError where that is not the file that was received, or cannot be read."""
    if problem := damage(path, row.sha256):
        raise StructureSetError(f"its file {problem}; have it sent again")
    said = read_said(path, desk.largest_bytes)
    if said.sop_instance_uid != row.sop_instance_uid:
        raise StructureSetError("the message that brought it named another object than the file does")
    return said


def hold_apart(desk: Desk, set_id: int, reason: str) -> ReturnedState:
    """APART, with an alarm: a person made it, and nobody can use it."""
    with writing(desk.engine) as session:
        row = move_returned(session, set_id, ReturnedState.APART, what="held apart", reasons=[reason])
        if row.series_id is not None:
            settle_case(session, row.series_id)
        message = f"returned structure set {set_id} cannot be used: {reason}; it is kept (`feedback show {set_id}`)"
        raise_alarm(session, ALARM, f"returned:{set_id}:unusable", message)
    log().warning("a returned structure set cannot be used", returned_set=set_id, reason=reason)
    return ReturnedState.APART


def settle(desk: Desk, session: Session, row: ReturnedSet, said: Said, pairing: Pairing) -> ReturnedState:
    """Enter what it says and take it to its next state."""
    note(session, row, said)
    if pairing.series_id is None:
        if pairing.other_patient:
            message = (
                f"returned structure set {row.id} is held apart: {pairing.reasons[0]}. Look for a mix-up of patients "
                f"(`rtseg-daemon feedback show {row.id}`)"
            )
            raise_alarm(session, ALARM, f"returned:{row.id}:patient", message)
        return move(session, row, ReturnedState.APART, *pairing.reasons)
    row.series_id = pairing.series_id
    keep_geometry(session, desk.files, pairing.series_id)
    answer = answered(known.results(session, pairing.series_id), row.received_at)
    name_rois(session, desk.config, row, answer)
    state, reasons = next_state(row, answer, desk.config.feedback.days, time.time())
    result = move(session, row, state, *reasons, *(() if state is ReturnedState.WAITING else pairing.notes))
    settle_case(session, pairing.series_id)
    return result


def note(session: Session, row: ReturnedSet, said: Said) -> None:
    """What the file says, in its columns."""
    row.series_instance_uid, row.study_instance_uid = said.series_uid, said.study_uid
    row.frame_of_reference_uid = next(iter(sorted(said.frames)), "")
    row.referenced_series = sorted(said.series)
    row.patient_id, row.label = said.patient_id, said.label
    row.approval, row.made_at, row.approved_at = said.approval, said.made_at, said.approved_at
    enter_rois(session, row, said.structures)


def next_state(row: ReturnedSet, answer: Answer, days: float, now: float) -> tuple[ReturnedState, list[str]]:
    """Where a set goes whose series is known."""
    if row.approval is not Approval.APPROVED:
        return ReturnedState.APART, [f"it is {row.approval}: contours count once they are approved"]
    if answer.apart:
        return ReturnedState.APART, [answer.apart]
    if answer.wait:
        if now - row.received_at > days * DAY_SECONDS:
            return ReturnedState.APART, [f"{answer.wait}, {days:g} days after the set came"]
        return ReturnedState.WAITING, [answer.wait]
    return ReturnedState.PAIRED, []


WORDS = {
    ReturnedState.APART: "held apart",
    ReturnedState.WAITING: "waits",
    ReturnedState.PAIRED: "paired",
}


def move(session: Session, row: ReturnedSet, to: ReturnedState, *reasons: str) -> ReturnedState:
    """Take it there, unless it waits already."""
    if row.state is to:
        row.reasons = list(reasons)
    else:
        move_returned(session, row.id, to, what=WORDS[to], reasons=reasons)
    return to
