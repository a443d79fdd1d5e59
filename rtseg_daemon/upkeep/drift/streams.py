"""From the ledger to the cases of charts: one stream for each organ, bundle, route and scanner.

Of each version the first and the last cases are read, and not what lies between: limits come from the first ones, and
what is to be seen from the last ones. Of a patient one case counts for a version, since a second one tells little that
the first did not.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from rtseg_daemon.config.values import JOINER, VERSION_MARK, without_version
from rtseg_daemon.ledger.bounded import each_value
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.schema import Event, Instance, Job, Series
from rtseg_daemon.upkeep.drift.chart import Point
from rtseg_daemon.upkeep.drift.coverage import Foretold
from rtseg_daemon.upkeep.drift.eras import Era, eras
from rtseg_daemon.upkeep.drift.measures import values_of_ours, values_of_returned

FIRST, LAST = 200, 400
"""So many cases of each version and route are read, from its beginning and up to now."""
BATCH = 200
UNKNOWN = "unknown"
Query = Select[*tuple[Any, ...]]


@dataclass(frozen=True, order=True)
class Stream:
    """What a chart is of. An empty `scanner` stands for all of them together."""

    bundle: str
    route: str
    organ: str
    scanner: str = ""


@dataclass(frozen=True)
class Case:
    """One job, as every stream of it has it."""

    job: int
    bundle: str
    version: str
    route: str
    scanner: str
    patient: str = field(repr=False)


@dataclass
class Streams:
    """Every stream with its cases by measure, oldest first, and what was foretold of what came back."""

    points: dict[Stream, dict[str, list[Point]]] = field(default_factory=lambda: defaultdict(dict))
    foretold: dict[tuple[Stream, str], list[Foretold]] = field(default_factory=lambda: defaultdict(list))
    """By stream and version."""
    eras: Sequence[Era] = ()

    def add(self, case: Case, organ: str, at: float, values: Mapping[str, float]) -> None:
        """Enter an organ of a case into the stream of all scanners and into that of its own."""
        era = sum(one.at <= at and one.holds(case.bundle, case.route, organ) for one in self.eras)
        for scanner in dict.fromkeys(("", case.scanner)):
            measures = self.points[Stream(case.bundle, case.route, organ, scanner)]
            for key, value in values.items():
                measures.setdefault(key, []).append(Point(at, case.job, case.version, value, era))


@dataclass(frozen=True)
class Wanted:
    """What is read: of one bundle or organ where one is named, and up to a moment (seconds since 1970)."""

    bundle: str = ""
    organ: str = ""
    until: float = math.inf


def read_streams(session: Session, versions: Mapping[str, str], wanted: Wanted = Wanted()) -> Streams:
    """All streams, or those that are wanted. `versions` gives the version for a bundle's digest."""
    streams = Streams(eras=eras(session))
    add_ours(session, streams, versions, wanted)
    add_returned(session, streams, versions, wanted)
    return streams


def add_ours(session: Session, streams: Streams, versions: Mapping[str, str], wanted: Wanted) -> None:
    """What bundles contoured, which needs no feedback."""
    seen: set[tuple[str, str, str]] = set()
    for jobs in in_batches(ours(session, wanted)):
        for job, at, rois, *named in session.execute(facts(jobs, Job.created_at, Job.rois).order_by(Job.id)):
            case = case_of(versions, job, *named)
            if not first_of_patient(case, seen):
                continue
            for roi in rois:
                name = str(roi.get("name", ""))
                if wanted.organ in ("", name):
                    streams.add(case, name, at, values_of_ours(roi))


def add_returned(session: Session, streams: Streams, versions: Mapping[str, str], wanted: Wanted) -> None:
    """What people made of it."""
    seen: set[tuple[str, str, str]] = set()
    organ = [ReturnedRoi.organ == wanted.organ] if wanted.organ else []
    for sets in in_batches([number for (number,) in session.execute(returned(wanted))]):
        mine = select(ReturnedRoi.job_id).where(ReturnedRoi.set_id.in_(sets), counting())
        jobs = {
            job: (rois, case_of(versions, job, *named)) for job, rois, *named in session.execute(facts(mine, Job.rois))
        }
        query = (
            select(ReturnedRoi.job_id, ReturnedSet.received_at, ReturnedRoi.organ, ReturnedRoi.difference)
            .join(ReturnedRoi.returned)
            .where(ReturnedSet.id.in_(sets), counting(), *organ)
            .order_by(ReturnedSet.id, ReturnedRoi.number)
        )
        for job, at, name, difference in session.execute(query):
            rois, case = jobs[job]
            if not first_of_patient(case, seen, name):
                continue
            streams.add(case, name, at, values_of_returned(difference))
            if (foretold := foretold_of(case, at, name, rois, difference)) is not None:
                streams.foretold[Stream(case.bundle, case.route, name), case.version].append(foretold)


def foretold_of(
    case: Case, at: float, organ: str, rois: Sequence[Mapping[str, Any]], difference: Mapping[str, Any]
) -> Foretold | None:
    """The interval that was predicted of an organ that came back, and its Dice. None where none was."""
    interval = next((roi.get("interval") for roi in rois if roi.get("name") == organ), None)
    dsc = difference.get("dsc")
    if not isinstance(interval, list) or len(interval) != 2 or not isinstance(dsc, int | float):
        return None
    return Foretold(at, case.job, interval[0], interval[1], float(dsc), bool(difference.get("untouched_whole")))


def first_of_patient(case: Case, seen: set[tuple[str, str, str]], organ: str = "") -> bool:
    """Whether no other job of this patient counts for the version. Patients without a number are told apart by none."""
    mark = (f"{case.bundle}@{case.version}", case.patient or f"job {case.job}", f"{case.route} {organ}")
    known = mark in seen
    seen.add(mark)
    return not known


def case_of(
    versions: Mapping[str, str], job: int, bundle: str, digest: str, route: str, patient: str, scanner: str | None
) -> Case:
    return Case(job, without_version(bundle), version_label(digest, versions), route, scanner or UNKNOWN, patient)


def version_label(digest: str, versions: Mapping[str, str]) -> str:
    """The version behind a digest, or the digest's beginning where it is of no installed bundle."""
    return JOINER.join(versions.get(one) or one[:12] for one in digest.split(JOINER))


def facts(jobs: Sequence[int] | Query, *columns: Any) -> Query:
    """A query for (job, columns, bundle, digest, route, patient, scanner) of these jobs."""
    return (
        select(
            Job.id, *columns, Job.bundle, Job.bundle_digest, Job.route, Series.patient_id,
            Instance.facts["scanner"].as_string(),
        )
        .join(Series, Series.id == Job.series_id)
        .outerjoin(Instance, Instance.id == Job.last_instance_id)
        .where(Job.id.in_(jobs))
    )  # fmt: skip


def ours(session: Session, wanted: Wanted) -> list[int]:
    """The jobs whose results count: first runs that were to be sent and that no newer job has taken the place of.

    Of each version and route the first and the last ones, read off an index from its two ends.
    """
    newer = aliased(Job)
    replaced = exists().where(newer.supersedes_id == Job.id, ~newer.shadow)
    found: set[int] = set()
    for route, bundle, digest in sources(session, wanted.bundle):
        query = (
            select(Job.id)
            .where(Job.route == route, Job.bundle == bundle, Job.bundle_digest == digest, ~Job.shadow)
            .where(~Job.no_send, Job.run == 1, ~replaced, *before(Job.created_at, wanted.until))
        )
        found.update(session.scalars(query.order_by(Job.id).limit(FIRST)))
        found.update(session.scalars(query.order_by(Job.id.desc()).limit(LAST)))
    return sorted(found)


def sources(session: Session, wanted: str) -> Iterator[tuple[str, str, str]]:
    """(route, bundle, digest) of all jobs with a result, of one bundle where one is wanted."""
    for route in each_value(session, Job.route, ~Job.shadow):
        for bundle in each_value(session, Job.bundle, ~Job.shadow, Job.route == route, *named(wanted)):
            of_it = (~Job.shadow, Job.route == route, Job.bundle == bundle)
            for digest in each_value(session, Job.bundle_digest, *of_it):
                yield route, bundle, digest


def returned(wanted: Wanted) -> Query:
    """The structure sets that came back with a contour that counts and is measured."""
    place = place_among(ReturnedSet.id)
    roi_jobs = select(func.min(ReturnedRoi.job_id)).where(ReturnedRoi.set_id == ReturnedSet.id, counting())
    answered = roi_jobs.scalar_subquery()
    answering = (
        select(ReturnedSet.id.label("number"), *place)
        .join(Job, Job.id == answered)
        .where(Job.bundle_digest.is_not(None))
        .where(~Job.shadow, *named(wanted.bundle), *before(ReturnedSet.received_at, wanted.until))
        .subquery()
    )
    ends = or_(answering.c.place <= FIRST, answering.c.rest <= LAST)
    return select(answering.c.number).where(ends).order_by(answering.c.number)


def named(bundle: str) -> list[Any]:
    """What jobs of a bundle are found by, whichever version their route asks for. Nothing where none is named."""
    asked = Job.bundle.startswith(bundle + VERSION_MARK, autoescape=True)
    return [or_(Job.bundle == bundle, asked)] if bundle and JOINER not in bundle else []


def before(column: Any, until: float) -> list[Any]:
    return [] if math.isinf(until) else [column < until]


def place_among(number: Any) -> tuple[Any, Any]:
    """How many of its bundle's version and route come before a row and after it, itself counted."""
    among = (Job.bundle, Job.bundle_digest, Job.route)
    place = func.row_number().over(partition_by=among, order_by=number).label("place")
    rest = func.row_number().over(partition_by=among, order_by=number.desc()).label("rest")
    return place, rest


def counting() -> Any:
    """The contours that count for their case and were measured."""
    known = ReturnedRoi.organ.is_not(None) & ReturnedRoi.job_id.is_not(None) & ReturnedRoi.difference.is_not(None)
    return ReturnedRoi.counts & known


def in_batches(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), BATCH):
        yield numbers[start : start + BATCH]


@dataclass(frozen=True)
class Switch:
    """Another version of a bundle serves from here on."""

    at: float
    bundle: str
    what: str
    version: str


def switches(session: Session) -> list[Switch]:
    """Every activation and rollback, oldest first."""
    query = select(Event.at, Event.what, Event.detail).where(Event.subject == "bundle").order_by(Event.id)
    return [
        Switch(at, str(detail.get("bundle", "")), what, str(detail.get("after", "")))
        for at, what, detail in session.execute(query)
        if detail.get("after")
    ]
