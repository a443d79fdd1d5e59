"""Monthly means of a chart, each with the limits that a mean of so many cases has."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rtseg_daemon.upkeep.drift.board import Chart
from rtseg_daemon.upkeep.drift.chart import Judged
from rtseg_daemon.upkeep.drift.limits import SIGMAS, student
from rtseg_daemon.upkeep.drift.shares import Known


@dataclass(frozen=True)
class Month:
    """A calendar month, local time.

    Args:
        month: YYYY-MM.
        mean: of its cases, on the measure's scale and back.
        low, high: limits of a mean of so many cases, None while there are none.
    """

    month: str
    cases: int
    mean: float
    low: float | None
    high: float | None

    @property
    def beyond(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= self.mean <= self.high


def month_of(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().date().isoformat()[:7]


def months_of(chart: Chart) -> list[Month]:
    """Every month with a case, in order."""
    if chart.measure.is_share:
        return share_months(chart)
    grouped = defaultdict[str, list[Judged]](list)
    for one in chart.judged:
        grouped[month_of(one.point.at)].append(one)
    return [value_month(chart, month, cases) for month, cases in sorted(grouped.items())]


def value_month(chart: Chart, month: str, cases: Sequence[Judged]) -> Month:
    there, back = chart.measure.scale.there, chart.measure.scale.back
    mean = statistics.fmean(there(one.point.value) for one in cases)
    limits = cases[-1].limits
    if limits is None:
        return Month(month, len(cases), back(mean), None, None)
    far = student(SIGMAS, limits.cases - 1) * limits.sigma * math.sqrt(1 / len(cases) + 1 / limits.cases)
    return Month(month, len(cases), back(mean), back(limits.centre - far), back(limits.centre + far))


def share_months(chart: Chart) -> list[Month]:
    grouped, known = defaultdict[str, list[float]](list), dict[str, Known | None]()
    for ten in chart.tens:
        for point in ten.points:
            grouped[month_of(point.at)].append(point.value)
            known[month_of(point.at)] = ten.known
    found = []
    for month, values in sorted(grouped.items()):
        so = known[month]
        low, high = so.limits(len(values)) if so else (None, None)
        found.append(Month(month, len(values), statistics.fmean(values), low, high))
    return found
