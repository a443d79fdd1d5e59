"""What a destination's status means, and how long a delivery is tried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.errors import InvalidDicomError

from rtseg_daemon.config.sections import DeliverySection
from rtseg_daemon.deliver.answers import (
    Answer,
    Trial,
    answer_of,
    failure_of,
    meaning,
    next_attempt_at,
    wait_before_next,
)
from rtseg_daemon.errors import ConfigError, ContextRefused, DeliveryError, StorageError, StructureSetError

SETTINGS = DeliverySection()
FRESH = Trial(attempts=1, waited_seconds=0.0, refused_seconds=0.0)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (0x0000, Answer.ARRIVED),
        (0x0111, Answer.ARRIVED),
        (0xB000, Answer.ARRIVED),
        (0xB006, Answer.ARRIVED),
        (0xB007, Answer.ARRIVED),
        (0xA900, Answer.REFUSED_FOR_GOOD),
        (0xA9FF, Answer.REFUSED_FOR_GOOD),
        (0x0122, Answer.REFUSED_FOR_GOOD),
        (0x0124, Answer.REFUSED_FOR_GOOD),
        (0xA700, Answer.REFUSED_FOR_NOW),
        (0xA7FF, Answer.REFUSED_FOR_NOW),
        (0x0110, Answer.REFUSED_FOR_NOW),
        (0xC000, Answer.REFUSED_FOR_NOW),
        (0xCFFF, Answer.REFUSED_FOR_NOW),
        (0xFE00, Answer.REFUSED_FOR_NOW),
        (None, Answer.NONE),
    ],
)
def test_each_status_has_its_meaning(status: int | None, answer: Answer) -> None:
    assert answer_of(status) is answer


@given(st.integers(0, 0xFFFF))
def test_nothing_but_success_duplicate_and_warnings_counts_as_arrived(status: int) -> None:
    expected = status in (0x0000, 0x0111) or 0xB000 <= status <= 0xBFFF
    assert (answer_of(status) is Answer.ARRIVED) == expected
    assert meaning(status)


def test_what_is_refused_for_good_is_given_up_at_once() -> None:
    assert wait_before_next(Answer.REFUSED_FOR_GOOD, FRESH, SETTINGS, 0.5) is None


def test_a_refusal_is_tried_for_a_day_and_at_least_every_five_minutes() -> None:
    late = Trial(attempts=300, waited_seconds=23.9 * 3600, refused_seconds=23.9 * 3600)
    wait = wait_before_next(Answer.REFUSED_FOR_NOW, late, SETTINGS, 0.99)
    assert wait is not None
    assert wait < 300
    over = Trial(attempts=301, waited_seconds=24 * 3600, refused_seconds=24 * 3600)
    assert wait_before_next(Answer.REFUSED_FOR_NOW, over, SETTINGS, 0.5) is None


def test_silence_is_waited_on_for_two_weeks_however_long_it_refused_before() -> None:
    trial = Trial(attempts=400, waited_seconds=335 * 3600, refused_seconds=24 * 3600)
    assert wait_before_next(Answer.NONE, trial, SETTINGS, 0.5) == 3600
    over = Trial(attempts=401, waited_seconds=336 * 3600, refused_seconds=0)
    assert wait_before_next(Answer.NONE, over, SETTINGS, 0.5) is None


@pytest.mark.parametrize(
    ("error", "answer", "words"),
    [
        (ContextRefused("not this class"), Answer.REFUSED_FOR_NOW, "not this class"),
        (DeliveryError("no answer"), Answer.NONE, "no answer"),
        (StorageError("was altered"), Answer.REFUSED_FOR_GOOD, "was altered"),
        (StructureSetError("lacks organs"), Answer.REFUSED_FOR_GOOD, "lacks organs"),
        (ConfigError("no certificate"), Answer.NONE, "no certificate"),
        (FileNotFoundError(2, "gone", "/a/b.dcm"), Answer.REFUSED_FOR_GOOD, "b.dcm is missing or broken; run doctor"),
        (InvalidDicomError(), Answer.REFUSED_FOR_GOOD, "a file is missing or broken; run doctor"),
        (OSError(28, "full"), Answer.NONE, "the storage cannot be used now (full)"),
    ],
)
def test_each_error_of_an_attempt_has_its_meaning(error: Exception, answer: Answer, words: str) -> None:
    failure = failure_of(error)
    assert (failure.answer, failure.words, failure.is_foreseen) == (answer, words, True)
    assert failure.is_away == (type(error) is DeliveryError)


def test_an_error_that_has_no_name_is_tried_again_and_told_apart() -> None:
    failure = failure_of(ZeroDivisionError("division by zero"))
    assert (failure.answer, failure.is_foreseen, failure.is_away) == (Answer.NONE, False, False)
    assert failure.words.startswith("an error that nobody foresaw: ZeroDivisionError")


def test_an_attempt_before_its_time_puts_the_planned_one_not_off() -> None:
    assert next_attempt_at(1000.0, 3600.0, planned_at=1500.0) == 1500.0
    assert next_attempt_at(1000.0, 30.0, planned_at=1500.0) == 1030.0


def test_an_attempt_at_its_time_is_followed_by_the_whole_wait() -> None:
    assert next_attempt_at(1500.0, 60.0, planned_at=1500.0) == 1560.0
    assert next_attempt_at(1000.0, 60.0, planned_at=None) == 1060.0
