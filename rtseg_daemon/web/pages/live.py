"""Pages that are open learn within a second that the ledger has changed: one watcher for all, by server-sent events.

The watcher asks the database for a number that every commit changes, which reads no table. It runs only while somebody
listens. Listeners are bounded in number and in time, and keep no queue: they are told that something changed,
and the page asks for itself.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here

router = APIRouter(include_in_schema=False)

POLL_SECONDS = 0.25
LEAST_PAUSE_SECONDS = 0.6
"""Between two events to one page, however fast the ledger changes: reception commits many times a second."""
COMMENT_SECONDS = 15.0
LONGEST_SECONDS = 600.0
"""A page that listens longer connects anew, and is asked again who it is."""
MOST = 64
UNREADABLE = ""
QUESTIONS = {"sqlite": "PRAGMA data_version", "postgresql": "SELECT pg_current_snapshot()"}


class Pulse:
    """Something that is another after each commit to the ledger by somebody else. For one thread.

    SQLite counts its commits, for each connection apart, so that one is kept. PostgreSQL names the transactions that a
    reader would not see. Whoever writes is one of them until the commit. Other databases of the same server count too.
    """

    def __init__(self, engine: Engine) -> None:
        self.question = QUESTIONS[engine.dialect.name]
        self.connection = engine.raw_connection()
        if engine.dialect.name == "postgresql":
            self.connection.dbapi_connection.autocommit = True  # type: ignore[union-attr]
        self.connection.detach()  # from the pool, whose next user would find it in that mode

    def ask(self) -> str:
        cursor = self.connection.cursor()
        try:
            cursor.execute(self.question)
            return str(cursor.fetchone()[0])  # type: ignore[index]
        finally:
            cursor.close()

    def close(self) -> None:
        self.connection.close()


@dataclass
class Watcher:
    """Counts changes while there are listeners. `version` grows, and whoever waits in `changed` wakes."""

    engine: Engine
    listeners: int = 0
    version: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False
    thread: threading.Thread | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def enter(self) -> None:
        """One more listener."""
        self.listeners += 1
        if self.thread is None:
            self.stop = threading.Event()
            arguments = (asyncio.get_running_loop(), self.stop)
            self.thread = threading.Thread(target=self.watch, args=arguments, name="watcher", daemon=True)
            self.thread.start()

    def leave(self) -> None:
        """One listener less. Without any the watcher ends."""
        self.listeners -= 1
        if self.listeners == 0:
            self.stop.set()
            self.thread = None

    def watch(self, loop: asyncio.AbstractEventLoop, stop: threading.Event) -> None:
        """The thread: look, tell, wait. A ledger that cannot be read is a change too, since pages say so.

        So is the first look: what was committed before it, and after a page asked for itself, would else be missed.
        """
        pulse, last = None, None
        while not stop.wait(POLL_SECONDS):
            try:
                pulse = pulse or Pulse(self.engine)
                now = pulse.ask()
            except (SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error):
                if pulse is not None:
                    with contextlib.suppress(self.engine.dialect.loaded_dbapi.Error):
                        pulse.close()
                pulse, now = None, UNREADABLE
            if now != last:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(self.tell)
                last = now
        if pulse is not None:
            pulse.close()

    def tell(self) -> None:
        """Wake all listeners. Each waits for the next change on a new event."""
        self.version += 1
        before, self.changed = self.changed, asyncio.Event()
        before.set()

    def close(self) -> None:
        """End all streams, so that the server can end."""
        self.closed = True
        self.tell()


def watcher_of(request: Request, engine: Engine) -> Watcher:
    """The one watcher of the application."""
    state = request.app.state
    if not hasattr(state, "watcher"):
        state.watcher = Watcher(engine)
    found: Watcher = state.watcher
    return found


@router.get("/live")
async def live(request: Request, _person: Viewer, place: Here) -> StreamingResponse:
    """A stream with an event `change` for each change of the ledger, many changes in one."""
    watcher = watcher_of(request, place.engine)
    if watcher.listeners >= MOST:
        raise HTTPException(503, "too many pages are open; this one is brought up to date less often")
    return StreamingResponse(changes(watcher), media_type="text/event-stream")


async def changes(watcher: Watcher) -> AsyncIterator[str]:
    """What the stream says, until the listener is gone or has listened long enough."""
    clock = asyncio.get_running_loop().time
    end, seen = clock() + LONGEST_SECONDS, watcher.version
    watcher.enter()
    try:
        yield "retry: 2000\n\n"
        while not watcher.closed and clock() < end:
            changed = watcher.changed
            if watcher.version == seen:
                try:
                    await asyncio.wait_for(changed.wait(), COMMENT_SECONDS)
                except TimeoutError:
                    yield ": nothing new\n\n"
                    continue
            seen = watcher.version
            yield f"event: change\ndata: {seen}\n\n"
            await asyncio.sleep(LEAST_PAUSE_SECONDS)
    finally:
        watcher.leave()
