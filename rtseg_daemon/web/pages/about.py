"""About: versions, software of others, intended use. All of it comes with the installed package."""

import platform
import sqlite3
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from rtseg_daemon.ledger.migrate import current_revision
from rtseg_daemon.web.pages.known_bundles import known_bundles
from rtseg_daemon.web.pages.markdown import html_of
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here

router = APIRouter(include_in_schema=False)
PACKAGE = Path(__file__).parents[2]


@router.get("/about")
def about(request: Request, person: Viewer, place: Here) -> HTMLResponse:
    """The page."""
    return page(
        request,
        person,
        "about.html",
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        sqlite=sqlite3.sqlite_version,
        schema=current_revision(place.engine),
        packages=packages(),
        bundles=known_bundles(place.models, place.config),
        intended_use=html_of(document("intended-use.md")),
        soup=html_of(document("soup.md")),
    )


def document(name: str) -> str:
    """A page of the documentation: the wheel's own copy, or the checkout's in an editable install. Empty without it."""
    for folder in (PACKAGE / "_docs", PACKAGE.parent / "docs"):
        if (folder / name).is_file():
            return (folder / name).read_text()
    return ""


@lru_cache(maxsize=1)
def packages() -> list[tuple[str, str]]:
    """(name, version) of what the daemon itself asks for, as it is installed here."""
    try:
        asked = [line.split(";")[0] for line in requires("rtseg-daemon") or () if "extra ==" not in line]
    except PackageNotFoundError:
        return []
    names = sorted({name_of(line) for line in asked}, key=str.lower)
    return [(name, installed(name)) for name in names]


def name_of(requirement: str) -> str:
    """The package's name at the start of a requirement."""
    end = next((k for k, one in enumerate(requirement) if not (one.isalnum() or one in "-_.")), len(requirement))
    return requirement[:end]


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
