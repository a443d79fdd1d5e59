"""Nelson's rules 1 to 3, which mark a case, and what alarms: a mark that stays. Pure.

Nelson's rules as they stand find something in every third hundred of cases that are as they should be, and there are
hundreds of charts. So a rule marks the case in its chart, and a person is told only of a mark that the following cases
confirm.
"""

import itertools
from collections.abc import Sequence

from rtseg_daemon.upkeep.drift.limits import FARTHEST, RUN, Limits

TREND = 6
"""Cases that rise, or fall, one after the other: Nelson's third rule."""
FEW, OF = 3, 5
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
    run = window[-RUN:]
    if len(run) < RUN:
        return 0
    return 1 if min(run) > limits.centre else -1 if max(run) < limits.centre else 0


def is_trend(window: Sequence[float]) -> bool:
    """Whether the last six values rise, or fall, each from the one before."""
    last = window[-TREND:]
    if len(last) < TREND:
        return False
    steps = [after - before for before, after in itertools.pairwise(last)]
    return min(steps) > 0 or max(steps) < 0


def confirmed(window: Sequence[float], limits: Limits) -> tuple[int, int]:
    """(side, how many of the last cases say so) where a mark is confirmed, else (0, 0).

    Three of five beyond the same limit and beyond all that was seen before, or nine in a row on one side whose mean is
    four standard errors away even without the two that lie farthest.
    """
    last = window[-OF:]
    if sum(value > limits.sure_high for value in last) >= FEW:
        return 1, len(last)
    if sum(value < limits.sure_low for value in last) >= FEW:
        return -1, len(last)
    side = side_of_run(window, limits)
    if side and mean_distance(window[-RUN:], limits.centre) >= limits.run:
        return side, RUN
    return 0, 0


def mean_distance(run: Sequence[float], centre: float) -> float:
    """Mean distance of a run on one side from the centre, without the FARTHEST."""
    near = sorted(abs(value - centre) for value in run)[:-FARTHEST]
    return sum(near) / len(near)
