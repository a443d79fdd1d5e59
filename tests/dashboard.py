"""The dashboard without a network: a place with an empty ledger, and browsers and programs that ask it."""

import time
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.testclient import TestClient

from rtseg_daemon.config.file import load_config
from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import open_ledger, writing
from rtseg_daemon.ledger.migrate import upgrade
from rtseg_daemon.ledger.people import Account
from rtseg_daemon.storage import Layout
from rtseg_daemon.upkeep.activation import activate
from rtseg_daemon.web.app import make_app
from rtseg_daemon.web.people import sessions, tokens
from rtseg_daemon.web.people.passwords import hash_of
from rtseg_daemon.web.place import Place
from tests.tiny import make_bundle
from tests.world import write_config

PASSWORD = "correct horse battery staple"
ADDRESS = "http://127.0.0.1:8080"


class Clock:
    """The time as the test turns it, seconds since 1970."""

    def __init__(self) -> None:
        self.at = time.time()

    def __call__(self) -> float:
        return self.at


def make_place(folder: Path, **web: Any) -> Place:
    """A configuration, a storage and an empty ledger in `folder`. Its time is a `Clock`."""
    (folder / "models").mkdir()  # no bundle is asked for
    config = load_config(write_config(folder, 1, web={"enabled": True} | web))
    layout = Layout(config.storage.directory)
    layout.create()
    (layout.directory / "rtseg.db").write_bytes(empty_ledger())
    return Place(config, layout, open_ledger(config.database_url), Clock())


@cache
def empty_ledger() -> bytes:
    """A ledger's file with this version's schema, made once."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rtseg.db"
        engine = open_ledger(f"sqlite:///{file}")
        upgrade(engine)
        engine.dispose()
        return file.read_bytes()


def wait(place: Place, seconds: float) -> None:
    """Let time pass."""
    assert isinstance(place.now, Clock)
    place.now.at += seconds


def make_account(place: Place, name: str, role: Role) -> str:
    """A local account with PASSWORD, unless there is one."""
    with writing(place.engine) as session:
        if session.get(Account, name) is None:
            now = place.now()
            row = Account(name=name, role=role.value, password_hash=hash_of(PASSWORD), created_at=now, changed_at=now)
            session.add(row)
    return name


def browser(place: Place) -> TestClient:
    """A browser that is not logged in and follows no redirect by itself."""
    address = f"https://{place.config.web.names[0]}" if place.config.web.secure else ADDRESS
    client = TestClient(make_app(place), address, follow_redirects=False, raise_server_exceptions=False)
    client.headers["accept"] = "text/html"
    return client


def logged_in(place: Place, role: Role = Role.VIEWER, name: str = "") -> TestClient:
    """A browser with a session of an account of that role. Its CSRF token goes along as a header."""
    name = make_account(place, name or f"a.{role}", role)
    client = browser(place)
    with writing(place.engine) as session:
        secret = sessions.begin(session, name, None, place.now())
        session.flush()
        known = sessions.find(session, secret, place.config.web, place.now())
    assert known is not None
    client.cookies.set(sessions.cookie_name(place.config.web), secret)
    client.headers["x-csrf-token"] = known.csrf
    return client


def program(place: Place, role: Role = Role.VIEWER, name: str = "") -> TestClient:
    """A program with a token of that role."""
    client = browser(place)
    with writing(place.engine) as session:
        token = tokens.create_token(session, name or f"program-{role}-{time.time_ns()}", role, "test", place.now())
    client.headers["authorization"] = f"Bearer {token}"
    client.headers["accept"] = "application/json"
    return client


def two_versions(folder: Path) -> Place:
    """A place with bundle `tiny` in two versions, of which 2.0 serves."""
    place = make_place(folder)
    for version in ("1.0", "2.0"):
        make_bundle(place.models, version=version)
        activate(place.models, "tiny", version, who="ann", why="commissioned", check=lambda _bundle: "not run here")
    return place
