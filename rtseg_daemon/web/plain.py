"""Pages that stand alone, without a person: login, first start, and what went wrong."""

from pathlib import Path

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
)


def plain_page(template: str, status: int = 200, **values: object) -> HTMLResponse:
    """The template as a page."""
    return HTMLResponse(TEMPLATES.get_template(template).render(**values), status)
