"""Audit: who did what, from the ledger's events, and the last lines of the audit trail itself."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.events import people
from rtseg_daemon.ledger.found_events import EventSearch, find_events
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.web.numbers import Other
from rtseg_daemon.web.pages.cases import LONGEST, Text, choices, start_of
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here

router = APIRouter(include_in_schema=False)
TAIL_BYTES = 256 * 1024
LINES = 50
KNOWN = ("viewed", "released", "rerun", "retried", "cancelled", "reviewed", "acknowledged")
"""What people do most often. Another word may be typed."""
FIELDS = ("who", "what", "job", "from", "to", "all", "line")


@router.get("/audit")
def audit(
    request: Request,
    person: Viewer,
    place: Here,
    who: Text = "",
    what: Text = "",
    job: Text = "",
    since: Annotated[str, Query(alias="from", max_length=LONGEST)] = "",
    before: Annotated[str, Query(alias="to", max_length=LONGEST)] = "",
    everybody: Annotated[str, Query(alias="all", max_length=LONGEST)] = "",
    line: Text = "",
    older: Other = None,
) -> HTMLResponse:
    """The page, or one that says which field of the search is wrong."""
    asked = dict(zip(FIELDS, (who, what, job, since, before, everybody, line), strict=True))
    search, faults = search_of(asked, older)
    with reading(place.engine) as session:
        names = people(session)
        found, more = find_events(session, search) if not faults else ((), False)
    kept = {name: value for name, value in asked.items() if value}
    return page(
        request,
        person,
        "audit.html",
        status=422 if faults else 200,
        asked=asked,
        faults=faults,
        events=found,
        about=about,
        older="/audit?" + urlencode(kept | {"older": str(found[-1].id)}) if found and more else "",
        names=choices(names),
        known=KNOWN,
        trail=tail(place.config.audit_file, line),
    )


def search_of(asked: dict[str, str], older: int | None) -> tuple[EventSearch, list[str]]:
    """The search that was typed, and what is wrong with it."""
    faults, days = [], {}
    for name, later in (("from", 0), ("to", 1)):
        try:
            days[name] = start_of(asked[name], later) if asked[name] else None
        except (ValueError, OverflowError):
            faults.append(f"{name!r} is no date; write it as 2026-01-31")
    number = asked["job"].strip()
    if number and not (number.isascii() and number.isdecimal() and len(number) < 19):
        faults.append("a job is a number")
    if faults:
        return EventSearch(), faults
    search = EventSearch(
        who=asked["who"].strip(),
        what=asked["what"].strip(),
        job=int(number) if number else None,
        since=days["from"],
        before=days["to"],
        everybody=bool(asked["all"]),
        older=older,
    )
    return search, []


def about(event: Event) -> str:
    """The page of what an event is about, empty where there is none."""
    if event.subject == "job" and event.subject_id is not None:
        return f"/cases/{event.subject_id}"
    return ""


@dataclass(frozen=True)
class Tail:
    """The end of the audit trail's file, the newest line first. `problem` says why it cannot be shown."""

    path: Path
    size: int = 0
    lines: tuple[str, ...] = ()
    problem: str = ""


def tail(path: Path, wanted: str, most: int = LINES) -> Tail:
    """The last lines that hold `wanted`, of the last TAIL_BYTES of the file."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - TAIL_BYTES))
            raw = file.read(TAIL_BYTES)
    except FileNotFoundError:
        return Tail(path, problem="is not there yet; the daemon writes it while it runs")
    except OSError as error:
        return Tail(path, problem=f"cannot be read ({error.strerror})")
    lines = raw.decode(errors="replace").split("\n")
    whole = lines if size <= TAIL_BYTES else lines[1:]
    found = [one for one in reversed(whole) if one and wanted.lower() in one.lower()]
    return Tail(path, size, tuple(found[:most]))
