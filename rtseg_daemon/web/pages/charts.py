"""Geometry of the charts that the server draws as SVG. Pure: from figures to places. Templates write them down."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH = 1000.0
"""Of a stacked bar, in the units of its own picture."""
COLOURS = 10
"""So many classes `c0` to `c9` the style sheet has."""


@dataclass(frozen=True)
class Segment:
    """A part of a stacked bar."""

    label: str
    value: float
    x: float
    width: float
    colour: str


def stacked(parts: Mapping[str, float]) -> list[Segment]:
    """The parts of a bar side by side, in their order. What is not positive has no width."""
    total = sum(value for value in parts.values() if value > 0)
    segments, x = [], 0.0
    for number, (label, value) in enumerate(parts.items()):
        width = WIDTH * value / total if value > 0 else 0.0
        segments.append(Segment(label, value, round(x, 2), round(width, 2), f"c{number % COLOURS}"))
        x += width
    return segments


@dataclass(frozen=True)
class DiceBar:
    """A predicted Dice and its interval on a scale from 0 to 100."""

    low: float
    high: float
    at: float
    label: str


def dice_bar(predicted: object, interval: object) -> DiceBar | None:
    """The bar, or None where no Dice was predicted."""
    if not is_number(predicted):
        return None
    at = unit(float(predicted))  # type: ignore[arg-type]
    low, high = at, at
    if isinstance(interval, Sequence) and len(interval) == 2 and all(map(is_number, interval)):
        low, high = unit(float(interval[0])), unit(float(interval[1]))
    span = f", 90 % interval {low:.2f} to {high:.2f}" if high > low else ""
    return DiceBar(round(100 * low, 1), round(100 * high, 1), round(100 * at, 1), f"predicted Dice {at:.2f}{span}")


def unit(value: float) -> float:
    return min(1.0, max(0.0, value))


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Frame:
    """A chart's area in its own units, and what its axes count."""

    width: float = 340.0
    height: float = 120.0
    left: float = 40.0
    right: float = 8.0
    top: float = 8.0
    bottom: float = 20.0

    def x(self, share: float) -> float:
        return round(self.left + share * (self.width - self.left - self.right), 1)

    def y(self, share: float) -> float:
        return round(self.height - self.bottom - share * (self.height - self.top - self.bottom), 1)


FRAME = Frame()


@dataclass(frozen=True)
class Tick:
    """A mark on an axis, with its place in the picture."""

    at: float
    label: str


@dataclass(frozen=True)
class Trend:
    """A band between two lines and a line in it, over time.

    Args:
        line: SVG points of the middle.
        band: SVG points around the upper and the lower line, empty where there are none.
        dots: (x, y, what it says) of each middle.
    """

    frame: Frame
    line: str
    band: str
    dots: tuple[tuple[float, float, str], ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Point:
    """One moment of a trend: the middle and what lies around it."""

    label: str
    middle: float
    low: float
    high: float


def trend(points: Sequence[Point], *, least: float | None = None, most: float | None = None) -> Trend | None:
    """The trend of equally distant points, None where there are none. The scale is their own, or as given."""
    known = [one for one in points if all(map(is_number, (one.middle, one.low, one.high)))]
    if not known:
        return None
    bottom = min(one.low for one in known) if least is None else least
    top = max(one.high for one in known) if most is None else most
    marks = nice_marks(bottom, top)
    bottom, top = min(bottom, marks[0]), max(top, marks[-1])
    last = max(1, len(known) - 1)

    def place(index: int, value: float) -> tuple[float, float]:
        across = index / last if len(known) > 1 else 0.5
        return FRAME.x(across), FRAME.y((value - bottom) / (top - bottom))

    middles = [place(index, one.middle) for index, one in enumerate(known)]
    upper = [place(index, one.high) for index, one in enumerate(known)]
    lower = [place(index, one.low) for index, one in enumerate(known)]
    dots = tuple((x, y, f"{one.label}: {one.middle:.3g}") for (x, y), one in zip(middles, known, strict=True))
    ends = sorted({0, len(known) - 1})
    return Trend(
        FRAME,
        points_of(middles),
        points_of([*upper, *reversed(lower)]) if len(known) > 1 else "",
        dots,
        tuple(Tick(middles[index][0], known[index].label) for index in ends),
        tuple(Tick(FRAME.y((mark - bottom) / (top - bottom)), f"{mark:g}") for mark in marks),
    )


def points_of(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in places)


def nice_marks(bottom: float, top: float) -> list[float]:
    """Two to five round numbers from below `bottom` to above `top`."""
    if top - bottom < 1e-9:
        top = bottom + max(abs(bottom) * 0.1, 0.1)
    rough = (top - bottom) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(bottom / step + 1e-9), math.ceil(top / step - 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


@dataclass(frozen=True)
class Column:
    """A column of a bar chart, its parts from the bottom up."""

    label: str
    x: float
    width: float
    parts: tuple[tuple[float, float, str], ...]
    says: str


@dataclass(frozen=True)
class Columns:
    """A chart of stacked columns."""

    frame: Frame
    columns: tuple[Column, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def columns(rows: Sequence[tuple[str, Mapping[str, int]]], frame: Frame = Frame(width=700, height=150)) -> Columns:
    """Stacked columns of counts. The colour classes are the keys in small letters."""
    most = max((sum(parts.values()) for _, parts in rows), default=0)
    marks = [mark for mark in nice_marks(0, max(most, 1)) if float(mark).is_integer()]
    top, made = marks[-1], []
    room = (frame.x(1) - frame.x(0)) / max(1, len(rows))
    for index, (label, parts) in enumerate(rows):
        below, pieces = 0, []
        for kind, count in parts.items():
            y = frame.y((below + count) / top)
            pieces.append((y, round(frame.y(below / top) - y, 1), kind.lower()))
            below += count
        says = f"{label}: " + (", ".join(f"{count} {kind}" for kind, count in parts.items() if count) or "nothing")
        x = round(frame.x(0) + index * room + room * 0.1, 1)
        made.append(Column(label, x, round(room * 0.8, 1), tuple(pieces), says))
    ends = sorted({0, len(made) - 1}) if made else []
    ticks = tuple(Tick(round(made[index].x + made[index].width / 2, 1), made[index].label) for index in ends)
    return Columns(frame, tuple(made), ticks, tuple(Tick(frame.y(mark / top), f"{mark:g}") for mark in marks))
