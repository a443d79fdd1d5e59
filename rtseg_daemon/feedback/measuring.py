"""A paired structure set is named and measured, and its case is counted anew."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from rtseg_daemon.anatomy.called import shipped_table
from rtseg_daemon.ct.geometry import Geometry
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.feedback import known
from rtseg_daemon.feedback.answered import answered
from rtseg_daemon.feedback.compare import Measured, Task, measured, our_result
from rtseg_daemon.feedback.history import settle_case
from rtseg_daemon.feedback.looking import Desk, hold_apart, read
from rtseg_daemon.feedback.names import Named
from rtseg_daemon.feedback.naming import name_rois
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.feedback_tables import ReturnedSet, RoiName
from rtseg_daemon.ledger.moves import move_returned
from rtseg_daemon.ledger.returned import find_returned
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import ReturnedState
from rtseg_daemon.logs import log
from rtseg_daemon.stored import Stored, result


@dataclass(frozen=True)
class Plan:
    """What is to be measured: the ROIs in the order of the file, and the file and the grid of each result of ours."""

    row: ReturnedSet
    tasks: tuple[Task, ...]
    files: dict[int, tuple[Stored, Geometry | None]]
    explained_at: float
    """When a person last explained a name."""

    @property
    def main(self) -> int:
        """The result that the set answers as a whole."""
        return self.row.job_id or min(self.files)


def measure(desk: Desk, set_id: int) -> ReturnedState:
    """Name and measure the ROIs of a PAIRED set. Returns the state that it is in afterwards."""
    with writing(desk.engine) as session:
        plan = planned(desk, session, find_returned(session, set_id))
    if not plan.files:
        return hold_apart(desk, set_id, "no result of ours is known to be delivered for its series any more")
    try:
        said = read(desk, plan.row, desk.layout.directory / plan.row.path)
        results = {job_id: our_result(*desk.file(file), geometry) for job_id, (file, geometry) in plan.files.items()}
        found = measured(plan.tasks, said.structures, results, plan.main)
    except StructureSetError as error:
        return hold_apart(desk, set_id, str(error))
    if misfit := nothing_fits(plan, found):
        return hold_apart(desk, set_id, misfit)
    with writing(desk.engine) as session:
        if last_explained(session) != plan.explained_at:
            return ReturnedState.PAIRED  # a name was explained meanwhile: once more, with it
        state = enter(session, find_returned(session, set_id), found)
    log().info("a returned structure set is measured", returned_set=set_id, state=str(state))
    return state


def planned(desk: Desk, session: Session, row: ReturnedSet) -> Plan:
    """Name the ROIs, and say against what each is measured."""
    answer = answered(known.results(session, row.series_id or 0), row.received_at)
    named = name_rois(session, desk.config, row, answer)
    jobs = {roi.id: roi.job_id for roi in row.rois}
    tasks = [task_for(one, jobs[one.roi.number]) for one in sorted(named, key=lambda one: one.roi.number)]
    wanted = {one.job_id for one in answer.jobs.values()}
    return Plan(
        row,
        tuple(tasks),
        {job_id: file_of(desk, session, job_id) for job_id in sorted(wanted)},
        last_explained(session),
    )


def last_explained(session: Session) -> float:
    """When a person last explained a name, 0 if nobody ever did."""
    return session.scalar(select(func.max(RoiName.at))) or 0.0


def task_for(one: Named, job_id: int | None) -> Task:
    """One ROI. Its number here is that of its row, and rows stand in the order of the file."""
    hint = shipped_table().suggest(one.roi.name) if one.unknown else ""
    return Task(one.roi.number, one.organ, job_id, one.rival, one.unknown, hint)


def file_of(desk: Desk, session: Session, job_id: int) -> tuple[Stored, Geometry | None]:
    """A result's file, and the grid that it was made on."""
    job = session.get_one(Job, job_id)
    geometry = known.geometry_for(session, desk.files, job.series_id, job.last_instance_id, fetch=False)
    return result(job), geometry


def nothing_fits(plan: Plan, found: dict[int, Measured]) -> str:
    """Why the whole set is none of this CT, empty where any organ is."""
    organs = [found[task.roi_id] for task in plan.tasks if task.organ is not None]
    if not organs or any(one.fit for one in organs):
        return ""
    return f"none of its organs fits the CT: {organs[0].reasons[0]}"


def enter(session: Session, row: ReturnedSet, found: dict[int, Measured]) -> ReturnedState:
    """What was measured, and what a person is still to say."""
    for roi in row.rois:
        one = found.get(roi.id, Measured())
        roi.difference, roi.fit, roi.ask, roi.reasons = one.difference, one.fit, one.ask, list(one.reasons)
    asked = sum(one.ask for one in found.values())
    state = ReturnedState.NAMES if asked else ReturnedState.MEASURED
    detail = {"organs": sum(one.difference is not None for one in found.values()), "names to explain": asked}
    what = "names wait for a person" if asked else "measured"
    move_returned(session, row.id, state, what=what, reasons=row.reasons, detail=detail)
    settle_case(session, row.series_id or 0)
    return state
