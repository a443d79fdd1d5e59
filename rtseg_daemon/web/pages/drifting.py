"""The charts of the Quality page: how every organ stands, and the charts of one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.upkeep.drift.board import Chart, charts_of
from rtseg_daemon.upkeep.drift.eras import eras
from rtseg_daemon.upkeep.drift.measures import MEASURES
from rtseg_daemon.upkeep.drift.shape import coverage_shapes, limits_shape, state_of
from rtseg_daemon.upkeep.drift.streams import Stream, Streams, Switch, Wanted, read_streams, switches
from rtseg_daemon.upkeep.drift.watch import Stamp, stamp
from rtseg_daemon.web.pages.control import control
from rtseg_daemon.web.pages.words import clean

LONGEST = 80
"""Characters of a name in a form."""


@dataclass(frozen=True)
class Board:
    """What is known of one bundle: its streams, the charts of all scanners together, and who served when."""

    streams: Streams
    together: tuple[Chart, ...]
    switches: tuple[Switch, ...]


@dataclass(frozen=True)
class Choice:
    """What somebody wants to see. Empty: whatever stands first."""

    route: str = ""
    organ: str = ""
    scanner: str = ""


def board_of(engine: Engine, bundle: str, versions: Mapping[str, str]) -> Board:
    """The board of a bundle, made anew when a job, something that came back or another version is new."""
    with reading(engine) as session:
        known = (*stamp(session), len(switches(session)), len(eras(session)))
    return board_at(engine, bundle, tuple(sorted(versions.items())), known)


@lru_cache(maxsize=4)
def board_at(engine: Engine, bundle: str, versions: tuple[tuple[str, str], ...], _known: Stamp) -> Board:
    with reading(engine) as session:
        streams = read_streams(session, dict(versions), Wanted(bundle=bundle))
        return Board(streams, tuple(charts_of(streams, scanners=("",))), tuple(switches(session)))


def drift_values(board: Board, choice: Choice) -> dict[str, Any]:
    """What the template shows of the board, with the charts of the chosen organ, else of one that drifts."""
    routes = sorted({chart.stream.route for chart in board.together})
    route = picked(choice.route, routes) or next(iter(routes), "")
    mine = [chart for chart in board.together if chart.stream.route == route]
    organs = list(dict.fromkeys(chart.stream.organ for chart in mine))
    drifting = [chart.stream.organ for chart in mine if chart.drifting]
    organ = picked(choice.organ, organs) or next(iter([*drifting, *organs]), "")
    scanners = sorted({s.scanner for s in board.streams.points if (s.route, s.organ) == (route, organ) and s.scanner})
    scanner = picked(choice.scanner, scanners)
    chosen = [chart for chart in mine if chart.stream.organ == organ]
    if scanner and chosen:
        one = Stream(chosen[0].stream.bundle, route, organ, scanner)
        chosen = list(charts_of(Streams({one: board.streams.points[one]}), scanners=(scanner,)))
    return {
        "routes": routes,
        "route": route,
        "organ": organ,
        "organ_names": organs,
        "scanners": scanners,
        "scanner": scanner,
        "shown_measures": [one for one in MEASURES if any(chart.measure is one for chart in mine)],
        "standing": [(name, cells(mine, name)) for name in organs],
        "controls": [
            {"label": chart.measure.label, "unit": chart.measure.unit, "state": state_of(chart),
             "is_share": chart.measure.is_share, "limits": limits_shape(chart), "digits": chart.measure.digits,
             "picture": control(chart, board.switches)}
            for chart in chosen
        ],
        "coverage": [one for one in coverage_shapes(board.streams) if one["route"] == route],
    }  # fmt: skip


def picked(name: str, names: Sequence[str]) -> str:
    """The one of these that a form calls so. Strangers' names go into forms as pages show them. Empty for none."""
    return next((one for one in names if name and clean(one, LONGEST) == name), "")


def cells(charts: list[Chart], organ: str) -> dict[str, tuple[str, int]]:
    """Measure -> how its chart stands, and of how many cases it is."""
    mine = [chart for chart in charts if chart.stream.organ == organ]
    return {chart.measure.key: (state_of(chart), len(chart.points)) for chart in mine}
