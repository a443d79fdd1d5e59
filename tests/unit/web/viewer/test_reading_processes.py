"""The reading processes from outside: what becomes of a request when one hangs, dies or says nonsense."""

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from rtseg_daemon.errors import NotShown
from rtseg_daemon.web.viewer.readers import PROCESSES, Readers

PLAYED = """
import json, os, sys, time
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "die":
        os._exit(9)
    time.sleep(asked.get("seconds", 0))
    if asked["do"] == "babble":
        print("x" * 30, flush=True)
    elif asked["do"] == "refuse":
        print(json.dumps({"refused": "altered", "status": 409}), flush=True)
    else:
        print(json.dumps({"pid": os.getpid()}), flush=True)
"""
PROGRAM = (sys.executable, "-c", PLAYED)


@pytest.fixture
def readers() -> Iterator[Readers]:
    made = Readers(PROGRAM, seconds=1.0, turn=5.0)
    yield made
    made.close()


def test_one_process_answers_one_request_after_the_other(readers: Readers) -> None:
    readers.warm()
    assert readers.ask({"do": "tell"}) == readers.ask({"do": "tell"})


def test_a_refusal_has_its_status(readers: Readers) -> None:
    with pytest.raises(NotShown, match="altered") as raised:
        readers.ask({"do": "refuse"})
    assert raised.value.status == 409


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"do": "die"}, "came to an end"),
        ({"do": "tell", "seconds": 30}, "took too long"),
        ({"do": "babble"}, "came to"),
    ],
)
def test_a_process_without_an_answer_is_ended_and_the_next_request_is_answered(
    readers: Readers, asked: dict[str, object], words: str
) -> None:
    """The person is told to ask `doctor`, who looks at the files."""
    with pytest.raises(NotShown, match=words) as raised:
        readers.ask(asked)
    assert "doctor" in str(raised.value)
    assert readers.ask({"do": "tell"})["pid"] > 0


def test_there_are_so_many_processes_and_the_others_wait_only_so_long() -> None:
    readers = Readers(PROGRAM, seconds=20.0, turn=0.1)
    busy = [threading.Thread(target=readers.ask, args=({"do": "tell", "seconds": 2},)) for _ in range(PROCESSES)]
    for thread in busy:
        thread.start()
    time.sleep(0.2)
    with pytest.raises(NotShown, match="try again") as raised:
        readers.ask({"do": "tell"})
    assert raised.value.status == 503
    for thread in busy:
        thread.join(30)
    readers.close()


def test_a_program_that_cannot_start_is_told_to_who_asks() -> None:
    readers = Readers(("/nonexistent",))
    readers.warm()
    with pytest.raises(NotShown, match="came to an end"):
        readers.ask({"do": "tell"})
