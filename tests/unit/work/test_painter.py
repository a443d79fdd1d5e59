"""The page to review a case by, drawn beside the next job."""

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger import events, views
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.work import painter
from tests.unit.work.bench import Bench, raising

DRAW = painter.draw


def drawn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The job as it is once its page was drawn, or was not."""
    monkeypatch.setattr(painter, "draw", DRAW)
    bench.run()
    bench.desk.painter.finish()
    with reading(bench.ledger) as session:
        return views.job_detail(views.find_job(session, bench.job), bench.layout.shown)


def test_the_page_to_review_by_lies_beside_the_structure_set_for_nobody_else_to_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = drawn(bench, monkeypatch)
    path = Path(job["picture_path"])
    assert path.parent == Path(job["rtstruct_path"]).parent
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_mode & 0o077 == 0


def test_a_page_that_cannot_be_drawn_costs_nothing_but_an_event(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ledger: Engine
) -> None:
    from rtseg_daemon.work import picture  # loads matplotlib

    monkeypatch.setattr(picture, "picture_of", raising(ValueError("no such font")))
    job = drawn(bench, monkeypatch)
    assert (job["state"], job["picture_path"]) == ("SEGMENTED", None)
    with reading(ledger) as session:
        (event,) = [one for one in events.events_of(session, "job", bench.job) if one.what == "no picture"]
    assert "ValueError" in event.detail["reason"]


def test_a_second_page_waits_for_the_first_and_none_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    going, order = threading.Event(), []

    def slow(_result: Any, path: Path, *_rest: Any) -> None:
        assert going.wait(30)
        order.append(path.name)

    monkeypatch.setattr(painter, "draw", slow)
    desk = painter.Painter()
    nothing: Any = None
    desk.paint(nothing, tmp_path / "1", "omit", nothing)
    second = threading.Thread(target=desk.paint, args=(nothing, tmp_path / "2", "omit", nothing))
    second.start()
    assert order == []
    going.set()
    second.join(30)
    desk.finish()
    assert order == ["1", "2"]
