"""No page and no action is open to a stranger, whoever adds one."""

from pathlib import Path
from re import sub
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.web.app import ROUTERS
from tests.dashboard import browser, logged_in, make_place, program

OPEN = {"/login", "/login/oidc", "/login/oidc/back", "/first/{secret}", "/healthz", "/readyz", "/metrics"}
"""What somebody without a session may ask: to log in, and whether all is well."""


def routes(found: Any) -> list[APIRoute]:
    """Every route of a router, those of routers inside it too."""
    router = getattr(found, "original_router", found)  # how FastAPI keeps a router inside another
    inside = [one for route in getattr(router, "routes", []) for one in routes(route)]
    return [found] if isinstance(found, APIRoute) else inside


def every_route() -> list[tuple[str, str]]:
    found = [(method, route.path) for router in ROUTERS for route in routes(router) for method in route.methods or ()]
    return sorted(one for one in found if one[1] not in OPEN)


def test_there_are_as_many_as_we_think() -> None:
    assert len(every_route()) > 35


def test_no_page_and_no_action_is_open_to_a_stranger(tmp_path: Path) -> None:
    client = browser(make_place(tmp_path))
    for method, path in every_route():
        answer = client.request(method, sub(r"\{[^}]*\}", "1", path))
        to_login = answer.status_code == 303 and answer.headers["location"].startswith("/login")
        assert to_login or answer.status_code in (401, 403), (method, path, answer.status_code)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused_too(tmp_path: Path, method: str) -> None:
    client = browser(make_place(tmp_path))
    for path in ("/api/v1/jobs", "/api/v1/status", "/static/plain.css"):
        assert client.request(method, path).status_code in (401, 405)


def test_a_number_larger_than_any_is_no_mistake_of_ours(tmp_path: Path) -> None:
    number = str(2**63)
    client = logged_in(make_place(tmp_path), Role.ADMIN)
    for method, path in every_route():
        if "{" in path:
            status = client.request(method, sub(r"\{[^}]*\}", number, path), data={"as_of": number}).status_code
            assert 400 <= status < 500, (method, path, status)
    answer = client.post("/cases/1/cancel", data={"why": "x", "as_of": number})
    assert answer.status_code == 422


def test_nothing_is_read_from_or_written_into_a_ledger_of_another_version(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    person, robot = logged_in(place, Role.ADMIN), program(place, Role.ADMIN)
    with writing(place.engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        session.execute(text("UPDATE setting SET value = '9999' WHERE key = 'works_with_since'"))
    for method, path in [*every_route(), ("POST", "/login")]:
        client = robot if path.startswith("/api/") else person
        answer = client.request(method, sub(r"\{[^}]*\}", "1", path), json={} if client is robot else None)
        assert (answer.status_code, "schema 9999" in answer.text) == (503, True), (method, path, answer.status_code)
    assert person.get("/metrics").status_code == 503
    health = person.get("/healthz")
    assert (health.status_code, "schema 9999" in health.text) == (503, True)
