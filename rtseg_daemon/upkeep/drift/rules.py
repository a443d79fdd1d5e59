"""Nelson's rules 1 to 3, which mark a case, and what alarms: a mark that stays. Pure.

Nelson's rules as they stand find something in every third hundred of cases that are as they should be, and there are
hundreds of charts. So a rule marks the case in its chart, and a person is told only of a mark that the following cases
confirm.
"""

from collections.abc import Sequence
from itertools import pairwise

from rtseg_daemon.upkeep.drift.limits import FARTHEST, RUN, Limits

TREND = 6
"""Cases that rise, or fall, one after the other: Nelson's third rule."""
FEW, OF = 4, 7
"""So many of so many in a row beyond the same limit alarm."""

BEYOND, SIDE, STEADY = 1, 2, 3


def marks(window: Sequence[float], limits: Limits) -> tuple[int, ...]:
    """The numbers of Nelson's rules that the last value of `window` (oldest first) breaks."""
    found = []
    if not limits.low <= window[-1] <= limits.high:
        found.append(BEYOND)
    if side_of_run(window, limits):
        found.append(SIDE)
    if is_trend(window):
        found.append(STEADY)
    return tuple(found)


def side_of_run(window: Sequence[float], limits: Limits) -> int:
    """1 or -1 where the last nine values lie above or below the centre, else 0."""
    side = 1 if window[-1] > limits.centre else -1
    if len(window) < RUN or any((value - limits.centre) * side <= 0 for value in reversed(window[-RUN:])):
        return 0
    return side


def is_trend(window: Sequence[float]) -> bool:
    """Whether the last six values rise, or fall, each from the one before."""
    if len(window) < TREND:
        return False
    last = window[-TREND:]
    way = last[-1] - last[-2]
    return all((after - before) * way > 0 for before, after in pairwise(last))


def confirmed(window: Sequence[float], limits: Limits) -> tuple[int, int]:
    """(side, how many of the last cases say so) where a mark is confirmed, else (0, 0).

    Four of seven, the last one among them, beyond the same limit and beyond all that was seen before. Or nine in a row
    on one side whose mean is 3.5 standard errors away even without the two that lie farthest.
    """
    last = window[-OF:]
    if last[-1] > limits.sure_high and sum(value > limits.sure_high for value in last) >= FEW:
        return 1, len(last)
    if last[-1] < limits.sure_low and sum(value < limits.sure_low for value in last) >= FEW:
        return -1, len(last)
    side = side_of_run(window, limits)
    if side and mean_distance(window[-RUN:], limits.centre) >= limits.run:
        return side, RUN
    return 0, 0


def mean_distance(run: Sequence[float], centre: float) -> float:
    """Mean distance of a run on one side from the centre, without the FARTHEST."""
    near = sorted(abs(value - centre) for value in run)[:-FARTHEST]
    return sum(near) / len(near)
