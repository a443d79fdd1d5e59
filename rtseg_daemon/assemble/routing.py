"""Which route takes a series, and which bundles it names."""

import re
from collections.abc import Hashable, Sequence
from functools import lru_cache
from pathlib import Path

from rtseg_daemon.assemble.reconstructions import Candidate, preferred
from rtseg_daemon.bundles import Bundle, Limits, load_bundle, models_of
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Match, Route
from rtseg_daemon.errors import RtsegError
from rtseg_daemon.ledger.schema import Series
from rtseg_daemon.versions import stamp


def tolerance_of(route: Route | None, config: Config) -> float:
    """How uneven slice distances may be for every bundle that the route names (see bundles.Limits).

    A bundle that cannot be read allows nothing: a gap is held whatever else is wrong.
    """
    names = route.everything if route else ()
    try:
        limits = [known_bundle(models_of(config), name).limits for name in names] or [Limits()]
    except RtsegError:
        limits = [Limits()]
    return min(one.slice_distance_tolerance for one in limits)


def why_left_alone(series_id: int, images: bool, route: Route | None, others: Sequence[Candidate]) -> str:
    """Why the series makes no job, or nothing."""
    if not images:
        return "it holds only localizers, reports or screens"
    if route is None:
        return "no route matches"
    best = preferred(others, route.prefer).series_id if others else series_id
    return "" if best == series_id else f"another reconstruction of the scan is preferred: series {best}"


def known_bundle(models: Path, name: str) -> Bundle:
    """A bundle, verified once in this process while the same version serves. The worker verifies what it loads."""
    return bundle_at(models, name, stamp(models, name))


@lru_cache(maxsize=16)
def bundle_at(models: Path, name: str, _stamp: Hashable) -> Bundle:
    return load_bundle(models, name)


def route_for(series: Series, routes: Sequence[Route]) -> Route | None:
    """The first route whose conditions the series meets."""
    return next((route for route in routes if matches(route.match, series)), None)


def matches(match: Match, series: Series) -> bool:
    """Whether every stated condition holds."""
    return (
        (match.modality is None or match.modality == series.modality)
        and (match.calling_ae is None or match.calling_ae == series.calling_ae)
        and found(match.body_part, series.body_part)
        and found(match.series_description, series.description)
    )


def found(pattern: str | None, text: str) -> bool:
    return pattern is None or re.search(pattern, text, re.IGNORECASE) is not None
