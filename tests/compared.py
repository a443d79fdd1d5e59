"""Live cases that two versions have contoured, with what was measured of them, written row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.comparison_tables import MeasuredContours
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.series import last_instance_id
from rtseg_daemon.ledger.states import Approval, JobState, ReturnedState
from tests.arrivals import receive
from tests.unit.ledger.test_jobs import arrival

AT = 1000.0


def figures(dice: float, hd95: float | None = 2.0) -> dict[str, Any]:
    """As a difference stands in the ledger."""
    shown = {"dsc": dice, "surface_dsc": dice, "surface_dsc_2mm": dice, "hd95_mm": hd95, "added_path_mm": 10.0}
    return shown | {"untouched_whole": dice == 1.0}


@dataclass(frozen=True)
class Organ:
    """An organ of one case: how alike A and B are, and how good each is on the approved contour, None without one."""

    between: float = 0.9
    a: float | None = None
    b: float | None = None


def live_case(
    ledger: Engine,
    number: int,
    digests: tuple[str, str],
    organs: Mapping[str, Organ],
    *,
    patient: str = "",
    scanner: str = "GE X",
    candidate: str = "tiny@2.0",
    measured: bool = True,
) -> tuple[int, int]:
    """The numbers of a delivered job of the first digest and of the second's in its shadow."""
    with writing(ledger) as session:
        uids = {"series_instance_uid": f"1.3.{number}", "sop_instance_uid": f"1.2.{number}"}
        one = arrival(number, patient_id=patient or f"P{number}", facts={"scanner": scanner}, **uids)
        series = receive(session, one).series_id
        last = last_instance_id(session, series)
        session.get_one(Series, series).updated_at = AT
        a = jobs.create_job(session, series, last, candidate.split("@")[0], "all", at=AT)
        b = jobs.create_job(session, series, last, candidate, "all", shadow=True, at=AT)
        for job, digest, state in ((a, digests[0], JobState.DELIVERED), (b, digests[1], JobState.SEGMENTED)):
            job.state, job.bundle_digest, job.rtstruct_path = state, digest, f"results/{job.id}/RTSTRUCT.dcm"
        session.flush()
        approved = {name: organ for name, organ in organs.items() if organ.a is not None}
        set_id = returned(session, a, series, number, approved) if approved else None
        if measured:
            add(session, b.id, {name: figures(organ.between) for name, organ in organs.items()}, job=a.id)
            for job, key in ((a, "a"), (b, "b")) if set_id else ():
                found = {name: figures(getattr(organ, key)) for name, organ in approved.items()}
                add(session, job.id, found, returned_set=set_id)
        return a.id, b.id


def add(
    session: Any, job_id: int, organs: dict[str, Any], job: int | None = None, returned_set: int | None = None
) -> None:
    session.add(MeasuredContours(job_id=job_id, other_job_id=job, returned_set_id=returned_set, organs=organs, at=AT))


def returned(session: Any, job: Job, series: int, number: int, organs: Mapping[str, Organ]) -> int:
    """An APPROVED set that answers the job, whose contours count."""
    row = ReturnedSet(
        sop_instance_uid=f"1.9.{number}",
        sha256="0" * 64,
        path=f"returned/{number}.dcm",
        size=1,
        calling_ae="TPS",
        calling_host="127.0.0.1",
        came_by="store",
        received_at=AT,
        approval=Approval.APPROVED,
        state=ReturnedState.MEASURED,
        series_id=series,
        job_id=job.id,
        updated_at=AT,
    )
    session.add(row)
    session.flush()
    for roi, (name, organ) in enumerate(organs.items(), 1):
        assert organ.a is not None
        session.add(
            ReturnedRoi(set_id=row.id, number=roi, name=name, organ=name, counts=True, difference=figures(organ.a))
        )
    return int(row.id)


def live_cases(ledger: Engine, digests: tuple[str, str], cases: Sequence[Mapping[str, Organ]], **options: Any) -> None:
    """One case of a patient of its own for each."""
    for number, organs in enumerate(cases, 1):
        live_case(ledger, number, digests, organs, **options)
