"""All charts together: of each stream and measure, judged, with what they alarm and how they stand."""

from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from rtseg_daemon.upkeep.drift.chart import Judged, Point, chart
from rtseg_daemon.upkeep.drift.measures import MEASURES, Measure
from rtseg_daemon.upkeep.drift.shares import Ten, share_chart
from rtseg_daemon.upkeep.drift.streams import Stream, Streams


@dataclass(frozen=True)
class ChartAlarm:
    """A case at which a chart alarms, to the side `above` or `below`."""

    at: float
    case: int
    version: str
    side: str


@dataclass(frozen=True)
class Chart:
    """One measure of one stream, oldest case first.

    Args:
        judged: the cases of a measure of single values.
        tens: the cases of one that is so or not so.
    """

    stream: Stream
    measure: Measure
    judged: Sequence[Judged] = ()
    tens: Sequence[Ten] = ()

    @property
    def points(self) -> list[Point]:
        return [one.point for one in self.judged] + [point for ten in self.tens for point in ten.points]

    @property
    def last_at(self) -> float:
        return self.judged[-1].point.at if self.judged else self.tens[-1].points[-1].at

    @property
    def drifting(self) -> bool:
        """Whether it has alarmed and not calmed down since."""
        return (self.judged or self.tens)[-1].drifting

    @property
    def alarms(self) -> list[ChartAlarm]:
        found = [(one.point, one.alarm) for one in self.judged if one.alarm]
        found += [(point, ten.alarm) for ten in self.tens for point in ten.points if point.case == ten.alarm_case]
        return [ChartAlarm(point.at, point.case, point.version, SIDES[side]) for point, side in found]


SIDES = {1: "above", -1: "below"}


def charts_of(streams: Streams, scanners: Container[str] | None = None) -> Iterator[Chart]:
    """Every chart that has a case, streams in their order, measures in theirs.

    A scanner has charts of its own where there are several. `scanners` asks for those alone, empty for all together.
    """
    known = defaultdict[tuple[str, str, str], set[str]](set)
    for stream in streams.points:
        known[stream.bundle, stream.route, stream.organ].add(stream.scanner)
    for stream in sorted(streams.points):
        alone = known[stream.bundle, stream.route, stream.organ] == {"", stream.scanner}
        if (stream.scanner and alone) or (scanners is not None and stream.scanner not in scanners):
            continue
        for measure in MEASURES:
            if points := streams.points[stream].get(measure.key):
                yield chart_of(stream, measure, points)


def chart_of(stream: Stream, measure: Measure, points: Sequence[Point]) -> Chart:
    if measure.is_share:
        return Chart(stream, measure, tens=share_chart(points))
    return Chart(stream, measure, judged=chart(points, measure))
