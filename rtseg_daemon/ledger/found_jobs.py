"""Jobs that are looked for, a page at a time: newest first, from a number on. A page is quick in a long ledger too."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, String, cast, false, func, or_, select
from sqlalchemy.orm import Session, joinedload

from rtseg_daemon.ledger.bounded import each_value
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.states import JobState

PAGE = 50
ESCAPE = "\\"


@dataclass(frozen=True)
class Search:
    """What is looked for. What is empty asks nothing.

    Args:
        patient: a part of the PatientID, without regard to case.
        since, before: when the job was made, seconds since 1970, the end excluded.
        flag: the gravest flag of its organs: OK, REVIEW or REJECT.
        shadow: shadows' jobs, and no others. Else none of them.
        older, newer: only jobs of smaller, or of larger, numbers than this one.
    """

    patient: str = ""
    since: float | None = None
    before: float | None = None
    route: str = ""
    bundle: str = ""
    state: JobState | None = None
    flag: str = ""
    shadow: bool = False
    older: int | None = None
    newer: int | None = None


@dataclass(frozen=True)
class Found:
    """One page of jobs, newest first, and whether there are more at either end."""

    jobs: Sequence[Job]
    newer: bool
    older: bool


def find_jobs(session: Session, search: Search, limit: int = PAGE) -> Found:
    """The page of jobs that meets every condition. Their series are loaded with them."""
    upwards = search.newer is not None
    query = select(Job).join(Job.series).options(joinedload(Job.series)).where(*conditions(search))
    if search.newer is not None:
        query = query.where(Job.id > search.newer).order_by(Job.id)
    elif search.older is not None:
        query = query.where(Job.id < search.older).order_by(Job.id.desc())
    else:
        query = query.order_by(Job.id.desc())
    found = list(session.scalars(query.limit(limit + 1)))
    more, page = len(found) > limit, found[:limit]
    if upwards:
        page.reverse()
        return Found(page, newer=more, older=True)
    return Found(page, newer=search.older is not None, older=more)


def conditions(search: Search) -> list[ColumnElement[bool]]:
    """The conditions of a search, for `where`."""
    asked: list[ColumnElement[bool]] = [Job.shadow.is_(search.shadow)]
    if search.patient:
        asked.append(has_part(search.patient))
    if search.since is not None:
        asked.append(Job.created_at >= search.since)
    if search.before is not None:
        asked.append(Job.created_at < search.before)
    if search.route:
        asked.append(Job.route == search.route)
    if search.bundle:
        asked.append(Job.bundle == search.bundle)
    if search.state is not None:
        asked.append(Job.state == search.state)
    return asked + flag_conditions(search.flag)


def has_part(text: str) -> ColumnElement[bool]:
    """That `text` is a part of the PatientID, without regard to case.

    SQLite's lower() knows A to Z alone and leaves the letters of other languages as they are, so that these are looked
    for as they were typed too. A text goes no further than its first NUL in SQLite, and nobody is called so.
    """
    if "\0" in text:
        return false()
    parts = {lowered_as_sqlite(part) for part in (text, text.lower(), text.upper())}
    lowered = func.lower(Series.patient_id)
    return or_(*(lowered.like(f"%{literal(part)}%", escape=ESCAPE) for part in sorted(parts)))


def lowered_as_sqlite(text: str) -> str:
    """A to Z made small, and nothing else."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


def flag_conditions(flag: str) -> list[ColumnElement[bool]]:
    """That `flag` is the gravest one among a job's organs. Organs are named by TG-263 and never like a flag."""
    graver = {"REJECT": (), "REVIEW": ("REJECT",), "OK": ("REJECT", "REVIEW")}
    if flag not in graver:
        return []
    flags = cast(Job.flags, String)
    return [flags.like(f'%"{flag}"%'), *(flags.not_like(f'%"{worse}"%') for worse in graver[flag])]


def literal(text: str) -> str:
    """`text` without the meaning that some characters have in LIKE."""
    for character in (ESCAPE, "%", "_"):
        text = text.replace(character, ESCAPE + character)
    return text


def routes_and_bundles(session: Session) -> tuple[list[str], list[str]]:
    """What may be chosen from: the routes and the bundles of all jobs."""
    routes = each_value(session, Job.route, ~Job.shadow)
    bundles = {
        bundle for route in routes for bundle in each_value(session, Job.bundle, ~Job.shadow, Job.route == route)
    }
    return sorted(routes), sorted(bundles)
