"""Where a person goes after the login, and with which form. Only pages of our own are gone to."""

import json
from typing import Any
from urllib.parse import urlsplit

HOME = "/"
LONGEST = 2000
MOST_KEPT = 8000
SECRET = frozenset(("csrf", "password"))


def safe_path(wanted: str) -> str:
    """`wanted` where it is a path of ours, else the first page.

    `//elsewhere`, `/\\elsewhere` and addresses with a scheme lead away, and browsers drop tabs and line feeds in them.
    """
    if not wanted.startswith("/") or len(wanted) > LONGEST or not wanted.isprintable() or "\\" in wanted:
        return HOME
    parts = urlsplit(wanted)
    if wanted.startswith("//") or parts.scheme or parts.netloc or parts.path.startswith(("/login", "/logout")):
        return HOME
    return wanted


def page_of_form(referer: str, host: str) -> str:
    """The page that a form was sent from, as the browser tells it, or the first one where it was not one of ours."""
    parts = urlsplit(referer)
    if parts.netloc != host:
        return HOME
    return safe_path(parts.path + (f"?{parts.query}" if parts.query else ""))


def kept_text(fields: dict[str, str]) -> str:
    """What was typed, for a hidden field of the login form, without secrets. Empty where there is nothing to keep."""
    kept = {key: value for key, value in fields.items() if key not in SECRET}
    text = json.dumps(kept, ensure_ascii=False)
    return text if kept and len(text) <= MOST_KEPT else ""


def kept_form(text: str, page: str) -> dict[str, Any]:
    """`{page, fields}` for the session, from such a text. It comes from the browser, so it may be anything."""
    try:
        found = json.loads(text) if 0 < len(text) <= MOST_KEPT else None
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        return {}
    fields = {key: value for key, value in found.items() if key not in SECRET}
    return {"page": urlsplit(page).path, "fields": fields} if fields else {}
