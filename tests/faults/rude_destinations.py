"""One destination of each rude kind, and what the daemon has to say of it."""

import time
from dataclasses import dataclass

from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.wire import P_DATA_TF
from tests.rude import Asked, Caller, Rude, answer, flood, half_an_answer, half_an_association, on_store

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
TRICKLE_SECONDS = 3.0
"""Between two bytes."""
STALL_SECONDS = 90.0
"""Longer than the daemon waits for anything to be taken."""


@dataclass(frozen=True)
class Kind:
    """A rude destination. Its deliveries may end in these words (a regular expression), and in no others."""

    name: str
    rude: Rude
    words: str
    images: bool = False
    """Whether it gets the CT too."""


def trickle(caller: Caller, asked: Asked) -> None:
    caller.trickle(answer(asked), TRICKLE_SECONDS)


def wrong_id(caller: Caller, asked: Asked) -> None:
    caller.say(answer(asked, RESPONDED_TO=dimse.short(7)))


def surplus(caller: Caller, asked: Asked) -> None:
    """Every image is answered twice. The structure set is refused."""
    refused = asked.command.text(dimse.AFFECTED_CLASS) == RTSTRUCT
    caller.say(answer(asked, 0xA700) if refused else answer(asked) * 2)


def stop_reading(caller: Caller) -> None:
    """The association stands, and nothing of what follows is read."""
    caller.say(caller.accepting())
    time.sleep(STALL_SECONDS)
    raise ConnectionError("enough")


def every_kind() -> list[Kind]:
    late, refused = "no answer in the time allowed", "0xA700|[Oo]ut of resources"
    return [
        Kind("silent at A-ASSOCIATE", Rude(greet=half_an_association), late),
        Kind("silent at C-STORE", Rude(meet=on_store(half_an_answer)), late),
        Kind("stops reading", Rude(greet=stop_reading, cramped=True), "not taken in the time allowed", True),
        Kind("trickles", Rude(meet=on_store(trickle)), late),
        Kind("wrong message ID", Rude(meet=on_store(wrong_id)), "message 7 was answered, and 1 was asked"),
        Kind("surplus response", Rude(meet=on_store(surplus)), f"was answered, and . was asked|{refused}", True),
        Kind(
            "announces 500 MB",
            Rude(meet=on_store(lambda caller, _asked: flood(caller, P_DATA_TF))),
            "500000000 bytes was announced",
        ),
        Kind("maximum length 6", Rude(greet=lambda caller: caller.say(caller.accepting(6))), "6 bytes is too small"),
        Kind("refuses", Rude(meet=on_store(lambda caller, asked: caller.say(answer(asked, 0xA700)))), refused),
    ]
