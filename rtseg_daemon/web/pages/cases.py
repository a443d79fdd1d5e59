"""Cases: every job, searched and filtered, a page at a time."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.found_jobs import Found, Search, find_jobs, routes_and_bundles
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.web.numbers import Other
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.pages.words import clean
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here

router = APIRouter(include_in_schema=False)
FLAGS = ("OK", "REVIEW", "REJECT")
FIELDS = ("patient", "from", "to", "route", "bundle", "state", "flag")
LONGEST = 200
Text = Annotated[str, Query(max_length=LONGEST)]


@router.get("/cases")
def cases(
    request: Request,
    person: Viewer,
    place: Here,
    patient: Text = "",
    since: Annotated[str, Query(alias="from", max_length=LONGEST)] = "",
    before: Annotated[str, Query(alias="to", max_length=LONGEST)] = "",
    route: Text = "",
    bundle: Text = "",
    state: Text = "",
    flag: Text = "",
    older: Other = None,
    newer: Other = None,
) -> HTMLResponse:
    """The page, or one that says which field of the search is wrong."""
    asked = dict(zip(FIELDS, (patient, since, before, route, bundle, state, flag), strict=True))
    search, faults = search_of(asked)
    with reading(place.engine) as session:
        routes, bundles = routes_and_bundles(session)
        empty = Found((), newer=False, older=False)
        found = empty if faults else find_jobs(session, replace(search, older=older, newer=newer))
    return page(
        request,
        person,
        "cases.html",
        status=422 if faults else 200,
        asked=asked,
        faults=faults,
        found=found,
        routes=choices(routes),
        bundles=choices(bundles),
        states=[str(one) for one in JobState],
        flags=FLAGS,
        turn=links(asked, found),
        searched=any(asked.values()),
    )


def choices(names: list[str]) -> list[str]:
    """What can be chosen from: names that are shown as they are. Others can be searched for by the address alone."""
    return [name for name in names if clean(name, LONGEST) == name]


def search_of(asked: dict[str, str]) -> tuple[Search, list[str]]:
    """The search that was typed, and what is wrong with it."""
    faults: list[str] = []
    days: dict[str, float | None] = {}
    for name, later in (("from", 0), ("to", 1)):
        try:
            days[name] = start_of(asked[name], later) if asked[name] else None
        except (ValueError, OverflowError):
            faults.append(f"{name!r} is no date; write it as 2026-01-31")
    if asked["state"] and asked["state"] not in JobState.__members__:
        faults.append(f"there is no state {asked['state'][:20]!r}")
    if asked["flag"] and asked["flag"] not in FLAGS:
        faults.append(f"there is no flag {asked['flag'][:20]!r}")
    if faults:
        return Search(), faults
    search = Search(
        patient=asked["patient"].strip(),
        since=days["from"],
        before=days["to"],
        route=asked["route"],
        bundle=asked["bundle"],
        state=JobState(asked["state"]) if asked["state"] else None,
        flag=asked["flag"],
    )
    return search, []


def start_of(day: str, later: int) -> float:
    """When a day of this machine's zone begins, or one so many days later. Raises ValueError for what is no date."""
    return (datetime.strptime(day, "%Y-%m-%d") + timedelta(days=later)).astimezone().timestamp()


def links(asked: dict[str, str], found: Found) -> dict[str, str]:
    """Where the newer and the older page of the same search are, for those that there are."""
    kept = {name: value for name, value in asked.items() if value}
    turns: dict[str, str] = {}
    if found.jobs and found.newer:
        turns["newer"] = "/cases?" + urlencode(kept | {"newer": str(found.jobs[0].id)})
    if found.jobs and found.older:
        turns["older"] = "/cases?" + urlencode(kept | {"older": str(found.jobs[-1].id)})
    return turns
