"""Slow bodies, proxies, and the ways a request may take."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rtseg_daemon.config.web import Role, Web
from rtseg_daemon.web.safety.bodies import Bodies
from rtseg_daemon.web.safety.hosts import client_behind, host_fault, our_names, way_fault
from tests.dashboard import browser, logged_in, make_account, make_place

PROXIED = Web(host="10.0.0.5", names=("rtseg.example",), proxies=("10.0.0.4",))


async def reads_body(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(f"{len(body)}")(scope, receive, send)


async def reads_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("there is no such page", 404)(scope, receive, send)


def ask(
    pieces: list[tuple[float, bytes]],
    headers: list[tuple[bytes, bytes]],
    seconds: float = 0.2,
    app: ASGIApp = reads_body,
) -> int:
    """The status of the answer to a body that comes in such pieces, each after so many seconds."""
    sent: list[Message] = []
    left = list(pieces)

    async def receive() -> Message:
        if not left:
            await asyncio.sleep(60)
        wait, piece = left.pop(0)
        await asyncio.sleep(wait)
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    asyncio.run(Bodies(app, most_bytes=1000, body_seconds=seconds)(scope, receive, send))
    return int(sent[0]["status"])


def test_a_body_in_time_is_taken() -> None:
    assert ask([(0, b"a" * 500), (0, b"b" * 500)], []) == 200


def test_a_body_that_trickles_is_answered_408() -> None:
    assert ask([(0.05, b"a")] * 100, []) == 408


def test_a_body_that_is_larger_than_told_is_answered_413() -> None:
    assert ask([(0, b"a" * 999), (0, b"bb"), (0, b"")], [(b"content-length", b"10")]) == 413
    assert ask([], [(b"content-length", b"1001")]) == 413


CHUNKS = [(b"transfer-encoding", b"chunked")]


def test_a_body_that_no_page_reads_is_bounded_all_the_same() -> None:
    assert ask([(0, b"a" * 500), (0, b"")], CHUNKS, app=reads_nothing) == 404
    assert ask([(0, b"a" * 500)] * 100, CHUNKS, app=reads_nothing) == 413
    assert ask([(0.05, b"a")] * 100, CHUNKS, app=reads_nothing) == 408
    assert ask([(0.05, b"a")] * 100, [(b"content-length", b"100")], app=reads_nothing) == 408


def test_a_body_with_two_lengths_is_refused() -> None:
    assert ask([(0, b"a")], [*CHUNKS, (b"content-length", b"1")]) == 400


@pytest.mark.parametrize(
    ("peer", "proto", "fault"),
    [
        ("10.0.0.4", "https", None),
        ("10.0.0.4", None, None),
        ("10.0.0.4", "http", 403),
        ("10.0.0.4", "https, http", 403),
        ("10.0.0.9", "https", 403),
        ("::ffff:10.0.0.9", "https", 403),
        ("", "https", 403),
    ],
)
def test_behind_a_proxy_nobody_else_is_answered_and_nobody_in_the_clear(
    peer: str, proto: str | None, fault: int | None
) -> None:
    found = way_fault(peer, proto, PROXIED)
    assert (found.status if found else None) == fault


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("10.1.1.1", "10.1.1.1"),
        ("1.2.3.4, 10.1.1.1", "10.1.1.1"),  # the client itself wrote 1.2.3.4
        ("1.2.3.4, 10.1.1.1, 10.0.0.4", "10.1.1.1"),
        ("", "10.0.0.4"),
        ("10.0.0.4", "10.0.0.4"),
    ],
)
def test_the_client_is_whom_the_nearest_proxy_names(forwarded: str, client: str) -> None:
    """Else an attacker would escape the lock-out by a new address with each guess."""
    assert client_behind("10.0.0.4", forwarded, ("10.0.0.4",)) == client


def test_names_are_ours_by_configuration_alone() -> None:
    assert our_names(PROXIED) == {"10.0.0.5", "rtseg.example"}
    assert host_fault([b"localhost"], our_names(PROXIED)) is not None
    assert host_fault([b"RTSEG.example:443"], our_names(PROXIED)) is None


def test_a_forwarded_address_is_believed_from_a_proxy_alone(tmp_path: Path) -> None:
    """On loopback without a proxy the header is what a client made up."""
    place = make_place(tmp_path)
    client = browser(place)
    found = []
    for number in range(21):
        headers = {"x-forwarded-for": f"10.9.9.{number}"}
        found.append(client.post("/login", data={"name": f"n{number}", "password": "x"}, headers=headers).status_code)
    assert found[-1] == 429


def test_every_answer_says_what_the_browser_may_load(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    make_account(place, "ann", Role.VIEWER)
    client = logged_in(place)
    for path in ("/login", "/nosuch", "/api/v1/jobs", "/static/plain.css", "/healthz"):
        for answer in (client.get(path), client.get(path, headers={"host": "evil"}), client.put(path)):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "server" not in answer.headers


def test_no_page_is_kept_by_a_cache(tmp_path: Path) -> None:
    client = logged_in(make_place(tmp_path))
    assert client.get("/api/v1/jobs").headers["cache-control"] == "no-store"
