"""A template and its values become a page, with what every page has: navigation, the person, the CSRF token."""

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rtseg_daemon.config.web import Role
from rtseg_daemon.web.pages import words
from rtseg_daemon.web.people.guard import Person, csrf_of, kept_of

TEMPLATES = Path(__file__).parent.parent / "templates"
PAGES = (
    ("/", "Now"),
    ("/worklist", "Worklist"),
    ("/cases", "Cases"),
    ("/feedback", "Feedback"),
    ("/bundles", "Bundles"),
    ("/quality", "Quality"),
    ("/audit", "Audit"),
    ("/about", "About"),
)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """All templates. Text is escaped everywhere, and a value that is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "clean": words.clean,
        "figure": words.figure,
        "short": words.short,
        "size": words.size,
        "span": words.span,
        "stranger": words.stranger,
        "when": words.when,
    }
    made.globals |= {"pages": PAGES, "roles": Role, "version": own_version(), "zone": words.zone}
    return made


def own_version() -> str:
    """The installed package's version."""
    try:
        return version("rtseg-daemon")
    except PackageNotFoundError:
        return "not installed"


def page(request: Request, person: Person, template: str, *, status: int = 200, **values: object) -> HTMLResponse:
    """The page for this person. `here` is the first part of its path, by which the navigation marks it."""
    first = "/" + request.url.path.strip("/").split("/")[0]
    known = {"request": request, "person": person, "here": first, "csrf_token": csrf_of(request)}
    text = environment().get_template(template).render(**known, kept=kept_of(request), **values)
    return HTMLResponse(text, status)
