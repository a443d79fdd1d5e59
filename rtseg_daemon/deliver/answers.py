"""What a destination's answer means, and what to do next: pure functions from facts to a decision."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydicom.errors import InvalidDicomError

from rtseg_daemon.config.sections import DeliverySection
from rtseg_daemon.errors import ContextRefused, DeliveryError, RtsegError, StorageError, StorageFull, StructureSetError
from rtseg_daemon.ledger.retry import backoff_seconds
from rtseg_daemon.logs import describe

SUCCESS = 0x0000
NO_SUCH_OBJECT = 0x0110  # processing failure; often "the CT or the patient is not here yet"
DUPLICATE = 0x0111
REFUSED_CLASS = 0x0122
NOT_AUTHORISED = 0x0124

LONGEST_REFUSAL_SECONDS = 240.0
"""A planning system that lacks the CT gets it within minutes: a refused object is tried at least this often."""


class Answer(StrEnum):
    """Kinds of answer to a C-STORE."""

    ARRIVED = "ARRIVED"  # it is there, perhaps with a warning
    REFUSED_FOR_GOOD = "REFUSED_FOR_GOOD"  # sending it again cannot help
    REFUSED_FOR_NOW = "REFUSED_FOR_NOW"  # it may be taken later
    NONE = "NONE"  # no connection, no association, or no answer: perhaps there, perhaps not


def answer_of(status: int | None) -> Answer:
    """Judge a C-STORE status (PS3.4 B.2.3 and PS3.7 annex C), or None where no answer came.

    0111 (duplicate SOP instance) says that the object is there: the answer to an earlier attempt was lost.
    """
    if status is None:
        return Answer.NONE
    if status in (SUCCESS, DUPLICATE) or status & 0xF000 == 0xB000:
        return Answer.ARRIVED
    if status & 0xFF00 == 0xA900 or status in (REFUSED_CLASS, NOT_AUTHORISED):
        return Answer.REFUSED_FOR_GOOD
    return Answer.REFUSED_FOR_NOW


@dataclass(frozen=True)
class Failure:
    """An attempt that ended in an error: what it counts as, and why in words for people.

    Args:
        is_away: the destination does not answer, or not as it should.
        is_foreseen: False where the error has no name here.
    """

    answer: Answer
    words: str
    is_away: bool = False
    is_foreseen: bool = True


def failure_of(error: Exception) -> Failure:
    """Judge what ended an attempt. The first row that fits counts."""
    match error:
        case ContextRefused():
            return Failure(Answer.REFUSED_FOR_NOW, str(error))
        case DeliveryError():
            return Failure(Answer.NONE, str(error), is_away=True)
        case StorageFull():
            return Failure(Answer.NONE, str(error))
        case StorageError() | StructureSetError():
            return Failure(Answer.REFUSED_FOR_GOOD, str(error))
        case RtsegError():
            return Failure(Answer.NONE, str(error))
        case FileNotFoundError() | InvalidDicomError():
            name = Path(str(getattr(error, "filename", "") or "a file")).name
            return Failure(Answer.REFUSED_FOR_GOOD, f"{name} is missing or broken; run doctor")
        case OSError():
            return Failure(Answer.NONE, f"the storage cannot be used now ({error.strerror})")
        case _:
            return Failure(Answer.NONE, f"an error that nobody foresaw: {describe(error)}", is_foreseen=False)


@dataclass(frozen=True)
class Trial:
    """How a delivery stands after an attempt without success.

    Args:
        attempts: attempts made, this one included.
        waited_seconds: time really waited between attempts so far.
        refused_seconds: the part of it in which the destination answered and refused.
    """

    attempts: int
    waited_seconds: float
    refused_seconds: float


def wait_before_next(answer: Answer, trial: Trial, settings: DeliverySection, jitter: float) -> float | None:
    """Seconds until the next attempt, or None to give up.

    Refusals are repeated for `refused_retry_hours`, silence for `give_up_after_hours`. `jitter` lies in [0, 1).
    """
    if answer in (Answer.ARRIVED, Answer.REFUSED_FOR_GOOD):
        return None
    if trial.waited_seconds >= settings.give_up_after_hours * 3600.0:
        return None
    longest = settings.longest_retry_seconds
    if answer is Answer.REFUSED_FOR_NOW:
        if trial.refused_seconds >= settings.refused_retry_hours * 3600.0:
            return None
        longest = min(longest, LONGEST_REFUSAL_SECONDS)
    return backoff_seconds(trial.attempts, settings.first_retry_seconds, longest, jitter)


def next_attempt_at(now: float, wait_seconds: float, planned_at: float | None) -> float:
    """When to try again: an attempt that came before the planned one, by hand or by a probe, puts that one not off."""
    return min(now + wait_seconds, planned_at) if planned_at is not None and planned_at > now else now + wait_seconds


def meaning(status: int) -> str:
    """A few words about a status, for people."""
    if status == SUCCESS:
        return "stored"
    if status == DUPLICATE:
        return "an object with this UID is already there"
    named = {
        NO_SUCH_OBJECT: "processing failure",
        0x0117: "invalid SOP instance",
        REFUSED_CLASS: "SOP class not supported",
        NOT_AUTHORISED: "not authorised",
    }
    ranges = {
        0xA700: "out of resources",
        0xA900: "data set does not match SOP class",
        0xB000: "stored with a warning",
        0xC000: "cannot understand",
    }
    if status in named:
        return named[status]
    for base, words in ranges.items():
        if status & (0xFF00 if base in (0xA700, 0xA900) else 0xF000) == base:
            return words
    return "unknown status"
