"""Canaries: a candidate serves a share of the patients only if it has shown what activation would ask of it."""

from collections.abc import Iterator

from sqlalchemy import Engine

from rtseg_daemon.bundles import load_bundle, models_of
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import Route
from rtseg_daemon.config.values import without_version
from rtseg_daemon.errors import BundleError
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm, record_event
from rtseg_daemon.logs import log
from rtseg_daemon.upkeep.comparing import comparison
from rtseg_daemon.upkeep.live import is_live
from rtseg_daemon.upkeep.promotion import objections


def admitted(engine: Engine, config: Config, now: float) -> Config:
    """The configuration without canaries that may not serve. Each that may and each that may not is told."""
    return config.model_copy(update={"routes": tuple(looked_at(engine, config, route, now) for route in config.routes)})


def looked_at(engine: Engine, config: Config, route: Route, now: float) -> Route:
    """A route, without its canary if that may not serve."""
    if route.canary is None:
        return route
    name, reasons = route.canary.bundle, list(against(engine, config, route))
    if not reasons:
        detail = {"bundle": name, "route": route.name, "share": route.canary.share}
        with writing(engine) as session:
            record_event(session, "daemon", None, "canary serves", detail=detail, at=now)
        log().warning("a canary serves a share of the patients", **detail)
        return route
    message = (
        f"canary {name} of route {route.name} does not serve: {'; '.join(reasons)}. The route's bundle serves alone"
    )
    with writing(engine) as session:
        raise_alarm(session, "canary", f"canary:{route.name}:{name}:{int(now // 86400)}", message, at=now)
    return route.model_copy(update={"canary": None})


def replaced(route: Route) -> str:
    """The bundle of a route whose place its canary takes."""
    assert route.canary is not None
    name = without_version(route.canary.bundle)
    return next(one for one in route.bundle if without_version(one) == name)


def against(engine: Engine, config: Config, route: Route) -> Iterator[str]:
    """Why a route's canary may not serve, empty where it may."""
    assert route.canary is not None
    models = models_of(config)
    try:
        candidate = load_bundle(models, route.canary.bundle)
        serving = load_bundle(models, replaced(route))
    except BundleError as error:
        yield str(error)
        return
    with reading(engine) as session:
        if candidate.digest != serving.digest and is_live(session, serving):
            yield from objections(comparison(session, serving, candidate), config.models.promotion)
