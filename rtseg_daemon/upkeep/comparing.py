"""Two bundles compared on the live cases that both have contoured: `models compare`, and what promotion asks."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, joinedload

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.config.values import JOINER
from rtseg_daemon.feedback.paired import Pair, by_scanner, compared, most_different
from rtseg_daemon.ledger.comparison_tables import MeasuredContours
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.schema import Instance, Job, Series
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.ledger.views import JsonObject

SHOWN = 10
"""So many cases that differ most are named."""
RESULTS = (JobState.SEGMENTED, JobState.DELIVERING, JobState.DELIVERED, JobState.HELD)
Case = tuple[int, int]
"""A series and its newest instance: the same images."""


@dataclass(frozen=True)
class Both:
    """One case with the jobs of both bundles, and what an approved contour of an organ is: its set, and whether it was
    left as it was."""

    a: Job
    b: Job
    approved: Mapping[str, tuple[int, bool]]


def comparison(session: Session, a: Bundle, b: Bundle, since: float = 0.0) -> JsonObject:
    """What `models compare --json` shows of the cases made from `since` on (seconds since 1970)."""
    cases = cases_of_both(session, a, b, since)
    measured = measurements(session, cases)
    pairs = pairs_of(session, cases, measured)
    candidate = Counter(str(job.state) for job in shadows_of(session, b, since))
    organs = compared(pairs)
    return {
        "a": named(a),
        "b": named(b),
        "cases": len(cases),
        "measured": len({pair.case for pair in pairs}),
        "patients": len({case.a.series.patient_id for case in cases}),
        "approved": len({pair.case for pair in pairs if pair.a is not None or pair.untouched}),
        "shadow_jobs": dict(candidate),
        "held": {"a": held(case.a for case in cases), "b": held(case.b for case in cases)},
        "organs": organs,
        "only_a": lone(a, b),
        "only_b": lone(b, a),
        "scanners": by_scanner(pairs),
        "most_different": [different(pair, cases) for pair in most_different(pairs, SHOWN)],
    }


def named(bundle: Bundle) -> JsonObject:
    return {"bundle": bundle.name, "version": bundle.version, "digest": bundle.digest}


def held(jobs: Any) -> int:
    """How many of these a gate stopped."""
    return sum(job.state is JobState.HELD for job in jobs)


def lone(one: Bundle, other: Bundle) -> list[str]:
    """The organs that the first bundle has alone."""
    return sorted({organ.name for organ in one.classes} - {organ.name for organ in other.classes})


def different(pair: Pair, cases: Sequence[Both]) -> JsonObject:
    case = next(case for case in cases if case.a.series_id == pair.case)
    assert pair.between is not None
    figures = {name: pair.between.get(name) for name in ("dsc", "surface_dsc", "hd95_mm")}
    return {"series": pair.case, "job_a": case.a.id, "job_b": case.b.id, "organ": pair.organ} | figures


def cases_of_both(session: Session, a: Bundle, b: Bundle, since: float = 0.0) -> list[Both]:
    """Every case with a result of either, oldest first. A case that was looked at once more by a person is none."""
    of_a, of_b = jobs_of(session, a, since), jobs_of(session, b, since)
    newest = {case[0]: case for case in sorted(of_a.keys() & of_b.keys())}
    approved = approved_organs(session, list(newest))
    return [Both(of_a[case], of_b[case], approved.get(case[0], {})) for case in newest.values()]


def jobs_of(session: Session, bundle: Bundle, since: float) -> dict[Case, Job]:
    """The newest result of a bundle for each case: what was sent, else what was made in the shadow."""
    query = (
        select(Job)
        .join(Series)
        .options(joinedload(Job.series))
        .where(Job.bundle_digest.contains(bundle.digest), Job.created_at >= since, Job.rtstruct_path.is_not(None))
        .where(Job.state.in_(RESULTS), Series.releasable, or_(Job.shadow, ~Job.no_send))
        .order_by(Job.shadow.desc(), Job.id)
    )
    return {
        (job.series_id, job.last_instance_id): job
        for job in session.scalars(query)
        if bundle.digest in (job.bundle_digest or "").split(JOINER)
    }


def shadows_of(session: Session, bundle: Bundle, since: float) -> Sequence[Job]:
    """Every job that a bundle was given in the shadow, however it ended."""
    name = f"{bundle.name}@{bundle.version}"
    return session.scalars(select(Job).where(Job.shadow, Job.bundle == name, Job.created_at >= since)).all()


def approved_organs(session: Session, series: Sequence[int]) -> dict[int, dict[str, tuple[int, bool]]]:
    """Series -> organ -> the set whose contour counts, and whether it was left as we had sent it."""
    query = (
        select(ReturnedSet.series_id, ReturnedRoi.organ, ReturnedRoi.set_id, ReturnedRoi.difference)
        .join(ReturnedSet, ReturnedSet.id == ReturnedRoi.set_id)
        .where(ReturnedRoi.counts, ReturnedRoi.organ.is_not(None), ReturnedSet.series_id.in_(series))
    )
    found: dict[int, dict[str, tuple[int, bool]]] = {}
    for number, organ, set_id, difference in session.execute(query):
        found.setdefault(number, {})[organ] = (set_id, bool((difference or {}).get("untouched_whole")))
    return found


Measured = dict[tuple[int, int | None, int | None], Mapping[str, Any]]
"""(job, other job, returned set) -> organ -> figures."""


def measurements(session: Session, cases: Sequence[Both]) -> Measured:
    """What was measured of these cases."""
    wanted = [job.id for case in cases for job in (case.a, case.b)]
    query = select(MeasuredContours).where(MeasuredContours.job_id.in_(wanted), MeasuredContours.trouble == "")
    return {(row.job_id, row.other_job_id, row.returned_set_id): row.organs for row in session.scalars(query)}


def pairs_of(session: Session, cases: Sequence[Both], measured: Measured) -> list[Pair]:
    """The organs of all cases, of which at least the two bundles were measured against each other."""
    scanners = scanners_of(session, [case.a for case in cases])
    found = []
    for case in cases:
        a, b = case.a.id, case.b.id
        between = measured.get((b, a, None)) or measured.get((a, b, None)) or {}
        for organ, figures in between.items():
            set_id, untouched = case.approved.get(organ, (0, False))
            of_a, of_b = (measured.get((job, None, set_id), {}).get(organ) for job in (a, b))
            judged = of_a is not None and of_b is not None and not untouched
            found.append(
                Pair(
                    case=case.a.series_id,
                    patient=case.a.series.patient_id,
                    scanner=scanners.get(case.a.series_id) or "unknown",
                    organ=organ,
                    between=figures,
                    a=of_a if judged else None,
                    b=of_b if judged else None,
                    untouched=untouched,
                )
            )
    return found


def scanners_of(session: Session, jobs: Sequence[Job]) -> dict[int, str]:
    """Series -> manufacturer and model of its scanner, as its newest image says."""
    query = select(Instance.series_id, Instance.facts["scanner"].as_string())
    found = session.execute(query.where(Instance.id.in_([job.last_instance_id for job in jobs])))
    return {number: scanner or "" for number, scanner in found}
