"""Tables for people: what is searched and copied stands there whole, on a narrow terminal and in a pipe."""

import io
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from rtseg_daemon.cli import common
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.schema import Job
from tests.arrivals import receive
from tests.unit.cli.test_commands import Desk, desk
from tests.unit.ledger.test_jobs import arrival

__all__ = ["desk"]

NOON = "2026-01-31T12:00:00.123Z"
COLUMNS = ("id", "state", "patient_id", "bundle", "route", "attempts", "updated_at", "error")
ROW = [123456, "DELIVERING", "PAT-00123456", "han-oar+han-gtv", "head-neck", 1, NOON, "memory ran out " * 20]


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def printed(monkeypatch: pytest.MonkeyPatch, width: int, terminal: bool) -> str:
    stream = io.StringIO()
    monkeypatch.setattr(common, "out", Console(file=stream, width=width, force_terminal=terminal, color_system=None))
    common.print_table("jobs", COLUMNS, [ROW])
    return stream.getvalue()


@pytest.mark.parametrize("width", [20, 80, 132])
def test_states_ids_and_times_are_never_cut_on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    text = printed(monkeypatch, width, terminal=True)
    for whole in ("123456", "DELIVERING", "PAT-00123456", "2026-01-31 12:00:00Z", "13:00:00 CET"):
        assert whole in text
    assert "\u2026" not in text
    if width >= 80:
        assert max(map(len, text.splitlines())) <= width


def test_nothing_of_a_long_text_is_lost_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(monkeypatch, 80, terminal=True)
    letters = "".join(character for character in text if character.isalpha())
    assert letters.count("m") >= 20 * 2
    assert "han-o" in text


def test_a_pipe_gets_one_line_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = [line for line in printed(monkeypatch, 80, terminal=False).splitlines() if "DELIVERING" in line]
    for whole in ("123456", "han-oar+han-gtv", "2026-01-31 12:00:00Z = 13:00:00 CET", ("memory ran out " * 20).strip()):
        assert whole in line


def test_a_grep_for_a_state_finds_the_whole_job(desk: Desk) -> None:
    job = desk.job("SEGMENTED")
    with writing(desk.ledger) as session:
        session.get_one(Job, job).error = "a long reason " * 30
    (line,) = [line for line in desk.run("jobs", "list")[1].splitlines() if "SEGMENTED" in line]
    assert ("a long reason " * 30).strip() in line


def test_the_day_is_told_where_it_is_another_one_here() -> None:
    assert common.both_times("2026-01-31T23:30:00.000Z", " = ") == "2026-01-31 23:30:00Z = 02-01 00:30:00 CET"


def test_show_tells_local_time_beside_utc_and_json_stays_as_it_was(desk: Desk) -> None:
    job = str(desk.job())
    assert "Z = " in next(line for line in desk.run("jobs", "show", job)[1].splitlines() if "created_at" in line)
    assert desk.ask("jobs", "show", job)["created_at"].endswith("Z")
    assert "Z = " in desk.run("jobs", "events", job)[1]


@pytest.mark.parametrize(
    ("least", "most", "room", "expected"),
    [
        ([4, 6, 6], [4, 20, 8], 30, [4, 18, 8]),
        ([4, 6, 6], [4, 9, 7], 100, [4, 9, 7]),
        ([10, 20], [10, 30], 5, [10, 20]),
    ],
)
def test_room_goes_to_columns_that_need_it(least: list[int], most: list[int], room: int, expected: list[int]) -> None:
    assert common.widths(least, most, room) == expected


def test_series_are_listed_by_state_patient_time_and_number(desk: Desk) -> None:
    with writing(desk.ledger) as session:
        for number, patient, at in ((1, "A", 1_000_000.0), (2, "A", 2_000_000_000.0), (3, "B", 2_000_000_001.0)):
            facts = {"series_instance_uid": f"1.3.{number}", "patient_id": patient, "received_at": at}
            receive(session, arrival(number, **facts))

    def listed(*options: str) -> list[str]:
        return [series["series_instance_uid"] for series in desk.ask("series", "list", *options)]

    assert listed() == ["1.3.3", "1.3.2", "1.3.1"]
    assert listed("--patient", "A") == ["1.3.2", "1.3.1"]
    assert listed("--since", "2001-01-01") == ["1.3.3", "1.3.2"]
    assert listed("--since", "2033-05-18T03:33:21+0000") == ["1.3.3"]
    assert listed("--since", "2033-05-18T04:33:21") == ["1.3.3"]
    assert listed("--limit", "1") == ["1.3.3"]
    assert listed("--state", "OPEN", "--patient", "B") == ["1.3.3"]
    assert listed("--state", "HELD") == []
    assert desk.run("series", "list", "--state", "LOST")[0] == 2
