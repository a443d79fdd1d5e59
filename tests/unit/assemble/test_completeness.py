from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtseg_daemon.assemble.completeness import Carrier, Next, Patience, SeriesFacts, Slice, completeness
from rtseg_daemon.ledger.states import Ending

PATIENCE = Patience(quiet=30, gap=120, abandon=3600)
RELEASED = (Carrier(Ending.RELEASED, 1),)


def stack(*along: float | None) -> tuple[Slice, ...]:
    return tuple(Slice(value) for value in along)


WHOLE = stack(*(3.0 * k for k in range(20)))
GAP = stack(*(3.0 * k for k in range(20) if k not in (7, 8)))


def decide(
    slices: tuple[Slice, ...], silence: float, carriers: tuple[Carrier, ...] = RELEASED, expected: int | None = None
) -> Next:
    return completeness(SeriesFacts(slices, len(slices), silence, carriers, expected), PATIENCE).next


def test_a_whole_series_is_complete_once_it_has_been_quiet() -> None:
    assert decide(WHOLE, 29.9) is Next.WAIT
    assert decide(WHOLE, 30) is Next.COMPLETE


def test_a_release_alone_completes_nothing() -> None:
    assert decide(WHOLE, 0) is Next.WAIT


def test_a_gap_waits_longer_and_is_then_held_with_the_missing_places() -> None:
    assert decide(GAP, 119) is Next.WAIT
    held = completeness(SeriesFacts(GAP, len(GAP), 120, RELEASED), PATIENCE)
    assert held.next is Next.HOLD
    assert held.reasons == ("2 slices are missing, at 21.0, 24.0 mm along the stack",)


def test_uneven_distances_are_held_without_guessing_places() -> None:
    held = completeness(SeriesFacts(stack(0, 3, 6, 10, 13, 16), 6, 999, RELEASED), PATIENCE)
    assert held.reasons == ("the slices are not equally far apart (3.00 to 4.00 mm)",)


def test_an_aborted_transfer_stays_open_until_it_is_given_up() -> None:
    broken = (Carrier(Ending.ABORTED, 1),)
    assert decide(WHOLE, 3599, broken) is Next.WAIT
    assert decide(WHOLE, 3600, broken) is Next.HOLD


def test_an_aborted_transfer_is_made_good_by_a_later_released_one() -> None:
    assert decide(WHOLE, 30, (Carrier(Ending.ABORTED, 1), Carrier(Ending.RELEASED, 2))) is Next.COMPLETE


def test_an_earlier_released_transfer_does_not_make_good_a_later_abort() -> None:
    assert decide(WHOLE, 30, (Carrier(Ending.RELEASED, 1), Carrier(Ending.ABORTED, 2))) is Next.WAIT


def test_a_transfer_beside_the_broken_one_does_not_make_it_good() -> None:
    beside = (Carrier(Ending.ABORTED, 1, 0.0, 50.0), Carrier(Ending.RELEASED, 2, 10.0, 60.0))
    assert decide(WHOLE, 31, beside) is Next.WAIT
    assert decide(WHOLE, 31, (*beside, Carrier(Ending.RELEASED, 3, 70.0, 80.0))) is Next.COMPLETE


def brought(*numbers: set[int]) -> tuple[frozenset[int], ...]:
    return tuple(map(frozenset, numbers))


@pytest.mark.parametrize(
    ("images", "answer"),
    [
        (brought({1, 2}, {1, 2}, {2}), Next.COMPLETE),
        (brought({1, 2}, {1}, {2}), Next.WAIT),
        (brought({1, 2}, {1, 3}, {2}, {3}), Next.COMPLETE),
        (brought({1, 2}, {1, 4}, {2}), Next.WAIT),
        ((), Next.WAIT),
    ],
    ids=["all again in one", "one is lacking", "all again in two", "in one that broke off too", "nobody knows"],
)
def test_transfers_beside_the_broken_one_make_it_good_once_they_have_brought_every_image(
    images: tuple[frozenset[int], ...], answer: Next
) -> None:
    carriers = (
        Carrier(Ending.DIED, 1, 0.0, 50.0),
        Carrier(Ending.RELEASED, 2, 10.0, 60.0),
        Carrier(Ending.RELEASED, 3, 20.0, 60.0),
        *((Carrier(Ending.ABORTED, 4, 20.0, 60.0),) if {4} & frozenset().union(*images) else ()),
    )
    facts = SeriesFacts(WHOLE, 20, 31, carriers, brought=images)
    assert completeness(facts, PATIENCE).next is answer


def test_an_earlier_transfer_with_every_image_does_not_make_a_later_broken_one_good() -> None:
    """It may have had images of its own to bring, and brought none before it broke off."""
    carriers = (Carrier(Ending.RELEASED, 1, 0.0, 20.0), Carrier(Ending.ABORTED, 2, 10.0, 30.0))
    facts = SeriesFacts(WHOLE, 20, 31, carriers, brought=brought({1, 2}, {1}))
    assert completeness(facts, PATIENCE).next is Next.WAIT


def test_a_series_of_which_images_were_refused_waits_for_them_and_is_then_held() -> None:
    def facts(silence: float, refused: int) -> SeriesFacts:
        return SeriesFacts(WHOLE, len(WHOLE), silence, RELEASED, refused=refused)

    assert completeness(facts(3599, 1), PATIENCE).next is Next.WAIT
    held = completeness(facts(3600, 2), PATIENCE)
    assert held.reasons == ("2 of its images were refused and did not come again",)
    assert completeness(facts(31, 0), PATIENCE).next is Next.COMPLETE


def test_positions_that_cannot_be_are_no_stack() -> None:
    assert decide(stack(-1.7e308, 1.7e308, 1.71e308, 1.72e308), 999) is Next.HOLD


def test_a_transfer_open_when_the_receiver_died_counts_as_broken_off() -> None:
    assert decide(WHOLE, 31, (Carrier(Ending.DIED, 1),)) is Next.WAIT


def test_a_transfer_that_fell_silent_and_was_cut_off_waits_like_a_broken_one_and_says_what_to_set() -> None:
    silent = (Carrier(Ending.IDLE, 1),)
    assert decide(WHOLE, 3599, silent) is Next.WAIT
    held = completeness(SeriesFacts(WHOLE, 20, 3600, silent), PATIENCE)
    assert "set dicom.idle_seconds above series.gap_seconds" in held.reasons[0]
    both = completeness(SeriesFacts(WHOLE, 20, 3600, (*silent, Carrier(Ending.ABORTED, 2))), PATIENCE)
    assert both.reasons == ("its transfer broke off and was not sent again",)
    assert decide(WHOLE, 31, (*silent, Carrier(Ending.RELEASED, 2))) is Next.COMPLETE


def test_an_association_still_open_makes_silence_weaker_but_not_endless() -> None:
    still_open = (Carrier(Ending.OPEN, 1),)
    assert decide(WHOLE, 31, still_open) is Next.WAIT
    assert decide(WHOLE, 120, still_open) is Next.COMPLETE


ABORTED = (Carrier(Ending.ABORTED, 1),)


def test_a_count_that_stayed_the_same_ends_the_wait_even_after_an_abort() -> None:
    assert decide(WHOLE, 30, ABORTED, expected=20) is Next.COMPLETE
    assert decide(WHOLE, 29, ABORTED, expected=20) is Next.WAIT, "and not before the series has been quiet"


def test_a_count_that_was_given_once_ends_no_wait() -> None:
    assert completeness(SeriesFacts(WHOLE, 20, 60, ABORTED, 20, confirmed=False), PATIENCE).next is Next.WAIT


def test_a_pacs_that_has_fewer_images_than_we_have_cannot_vouch_for_them() -> None:
    assert decide(WHOLE, 60, ABORTED, expected=18) is Next.WAIT


def test_a_count_not_reached_waits_and_is_then_held() -> None:
    assert decide(WHOLE, 60, expected=25) is Next.WAIT
    held = completeness(SeriesFacts(WHOLE, 20, 120, RELEASED, 25), PATIENCE)
    assert held.reasons == ("20 of 25 images were received",)


def test_the_count_does_not_excuse_a_gap() -> None:
    assert decide(GAP, 30, expected=18) is Next.WAIT


def test_slices_without_a_position_are_no_gap() -> None:
    assert decide(stack(None, None, 0.0, 3.0), 30) is Next.COMPLETE


def test_doubled_positions_are_no_gap() -> None:
    assert decide(stack(0, 0, 3, 3, 6, 6), 30) is Next.COMPLETE


@given(
    st.sets(st.integers(0, 60), min_size=4, max_size=60),
    st.floats(0.5, 6.0),
    st.floats(-500, 500),
    st.floats(0, 10_000),
)
def test_a_stack_with_a_hole_is_never_complete_by_silence(
    numbers: set[int], spacing: float, origin: float, silence: float
) -> None:
    """Whatever is missing inside, unless every distance is the same multiple (then it is a coarser whole stack)."""
    ordered = sorted(numbers)
    steps = sorted(b - a for a, b in pairwise(ordered))
    usual = (steps[len(steps) // 2] + steps[(len(steps) - 1) // 2]) / 2
    slices = stack(*(origin + spacing * n for n in ordered))
    if max(steps) > usual:
        assert decide(slices, silence) is not Next.COMPLETE
    elif len(set(steps)) == 1:
        assert (decide(slices, silence) is Next.COMPLETE) == (silence >= PATIENCE.quiet)
