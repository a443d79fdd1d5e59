"""Pages that are open are told of a change within a second, and only as many as there is room for."""

import asyncio
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.web.pages import live
from rtseg_daemon.web.pages.live import Watcher, changes
from tests.dashboard import browser, logged_in, make_place


def note(ledger: Engine) -> None:
    with writing(ledger) as session:
        record_event(session, "daemon", None, "something happened")


async def next_change(stream: object) -> str:
    """The next event, comments and the first line left out."""
    async for part in stream:  # type: ignore[attr-defined]
        if part.startswith("event: change"):
            return str(part)
    raise AssertionError("the stream ended")


def test_every_listener_is_told_within_a_second_and_the_watcher_ends_with_the_last(ledger: Engine) -> None:
    async def told() -> tuple[float, Watcher]:
        watcher = Watcher(ledger)
        streams = [changes(watcher) for _ in range(3)]
        waiting = [asyncio.create_task(next_change(stream)) for stream in streams]
        await asyncio.sleep(2 * live.POLL_SECONDS)
        began = time.monotonic()
        await asyncio.to_thread(note, ledger)
        assert await asyncio.wait_for(asyncio.gather(*waiting), 10) == ["event: change\ndata: 1\n\n"] * 3
        took = time.monotonic() - began
        thread = watcher.thread
        for stream in streams:
            await stream.aclose()
        assert thread is not None
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
        return took, watcher

    took, watcher = asyncio.run(told())
    assert took < 1.0
    assert (watcher.listeners, watcher.thread) == (0, None)


def test_many_changes_at_once_are_told_as_one(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.05)

    async def told() -> int:
        watcher, count = Watcher(ledger), 0
        stream = changes(watcher)
        await next_change_begins(stream, watcher)
        for _ in range(20):
            await asyncio.to_thread(note, ledger)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            try:
                await asyncio.wait_for(
                    asyncio.shield(asyncio.ensure_future(next_change(stream))), end - time.monotonic()
                )
                count += 1
            except TimeoutError:
                break
        watcher.close()
        return count

    async def next_change_begins(stream: object, watcher: Watcher) -> None:
        assert (await anext(stream)).startswith("retry")  # type: ignore[call-overload]
        await asyncio.sleep(0.2)
        assert watcher.listeners == 1

    assert 1 <= asyncio.run(told()) <= 3


def test_who_is_not_logged_in_hears_nothing(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    assert browser(place).get("/live").status_code == 303
    place.engine.dispose()


def test_there_is_room_for_so_many_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST", 0)
    place = make_place(tmp_path)
    answer = logged_in(place, Role.VIEWER).get("/live")
    assert answer.status_code == 503
    assert "Too many pages are open" in answer.text
    place.engine.dispose()


def test_a_stream_ends_when_the_server_does_and_after_its_time(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def closed() -> list[str]:
        watcher = Watcher(ledger)
        stream = changes(watcher)
        first = await anext(stream)
        asyncio.get_running_loop().call_later(0.05, watcher.close)
        return [first, *[part async for part in stream]]

    assert len(asyncio.run(asyncio.wait_for(closed(), 5))) == 2
    monkeypatch.setattr(live, "LONGEST_SECONDS", 0.0)

    async def over() -> list[str]:
        return [part async for part in changes(Watcher(ledger))]

    assert asyncio.run(asyncio.wait_for(over(), 5)) == ["retry: 2000\n\n"]
