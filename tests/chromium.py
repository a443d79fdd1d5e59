"""The dashboard in a real browser: Debian's chromium, and the application on a port of its own."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.web.app import make_app
from rtseg_daemon.web.people import sessions
from rtseg_daemon.web.place import Place
from tests.dashboard import make_account, make_place
from tests.world import free_port

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 120_000
"""For anything on a page. A crowded machine is slow."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser with a new, empty profile. Skips the test where it is missing, unless RTSEG_REQUIRE_PEERS=1."""
    if not CHROMIUM.exists():
        message = "chromium is not installed (Debian: chromium)"
        if os.environ.get("RTSEG_REQUIRE_PEERS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


def place_on_a_port(folder: Path) -> Place:
    """An empty place whose own address is a free port on loopback."""
    return make_place(folder, port=free_port())


@contextmanager
def served(place: Place) -> Iterator[str]:
    """The application of a place, answering. Gives its address."""
    web = place.config.web
    config = uvicorn.Config(make_app(place), host=web.host, port=web.port, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="served")
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://{web.host}:{web.port}"
    finally:
        server.should_exit = True
        thread.join(20)


def visitor(
    browser: Browser, place: Place, address: str, role: Role = Role.VIEWER, **options: object
) -> BrowserContext:
    """A browser's window in which somebody of that role is logged in."""
    name = make_account(place, f"a.{role}", role)
    with writing(place.engine) as session:
        secret = sessions.begin(session, name, None, place.now())
    context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    context.add_cookies([{"name": sessions.cookie_name(place.config.web), "value": secret, "url": address}])
    return context


def complaints(page: Page) -> list[str]:
    """What goes wrong in a page's scripts from now on."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    return found
