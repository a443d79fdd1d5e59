"""schemathesis asks whatever the description allows, for a bounded time."""

import time
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import checks

from rtseg_daemon.config.web import Role
from tests.dashboard import make_place, program
from tests.unit.upkeep.test_housekeeping import stored_job, stored_series

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
SECONDS = 8.0
"""For all operations together."""


@pytest.mark.filterwarnings("default")
def test_nothing_that_the_description_allows_breaks_an_answer(tmp_path: Path) -> None:
    """Every answer has a status, a type and a shape that the description names, and none is a mistake of ours."""
    place = make_place(tmp_path)
    stored_job(place.engine, place.layout, stored_series(place.engine, place.layout))
    client = program(place, Role.ADMIN, "robot")
    token = {"authorization": client.headers["authorization"], "host": "127.0.0.1:8080"}
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", client.app, headers=token)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 10
    asked = [ask(operation, token, SECONDS / len(operations)) for operation in operations]
    assert min(asked) >= 1


def ask(operation: Any, token: dict[str, str], seconds: float) -> int:
    """Cases of one operation until its time is over. Returns how many."""
    until, asked = time.monotonic() + seconds, 0

    @seed(20)
    @settings(
        max_examples=50, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy())
    def check(case: Any) -> None:
        nonlocal asked
        if time.monotonic() < until or asked == 0:
            case.validate_response(case.call(headers=token), checks=CHECKS)
            asked += 1

    check()
    return asked
