"""Quality: flags, volumes and uncertainty per organ over time, throughput, and how long contours take."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from rtseg_daemon.config.values import without_version
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.upkeep.quality import FLAGS, figures_shape
from rtseg_daemon.web.pages.charts import Point, columns, stacked, trend
from rtseg_daemon.web.pages.drifting import Choice, board_of, drift_values
from rtseg_daemon.web.pages.known_bundles import versions_by_digest
from rtseg_daemon.web.pages.render import page
from rtseg_daemon.web.pages.words import clean
from rtseg_daemon.web.people.guard import Viewer
from rtseg_daemon.web.place import Here, Place

router = APIRouter(include_in_schema=False)
DAY_SECONDS = 86400.0
PERIODS = (7, 30, 90, 365)
MEASURES = (("volume_ml", "volume, ml"), ("vvc", "VVC"), ("predicted_dice", "predicted Dice"))


@router.get("/quality")
def quality(
    request: Request,
    person: Viewer,
    place: Here,
    days: Annotated[int, Query(ge=1, le=3650)] = 90,
    bundle: str = "",
    route: str = "",
    organ: str = "",
    scanner: str = "",
) -> HTMLResponse:
    """The page of one bundle, the one with most cases where none is named."""
    now, versions = place.now(), versions_by_digest(place.models)
    with reading(place.engine) as session:
        shape = figures_shape(session, now - days * DAY_SECONDS, now, versions)
    ordered = sorted(shape["bundles"], key=lambda one: -one["cases"])
    chosen = next((one for one in ordered if key_of(one) == bundle), ordered[0] if ordered else None)
    times = shape["delivery_seconds"]
    weeks = [Point(one["week"], one["median"], one["median"], one["p95"]) for one in times["weeks"]]
    return page(
        request,
        person,
        "quality.html",
        days=days,
        periods=PERIODS,
        bundles=[(key_of(one), one) for one in ordered],
        chosen=chosen,
        chosen_key=key_of(chosen) if chosen else "",
        organs=[one | {"bar": stacked(one["flags"])} for one in chosen["organs"]] if chosen else [],
        **(drifts(place, without_version(chosen["name"]), versions, Choice(route, organ, scanner)) if chosen else {}),
        measures=MEASURES,
        flag_names=FLAGS,
        throughput=shape["throughput"],
        per_day=columns([(day["day"], day_parts(day)) for day in shape["throughput"]]),
        times=times,
        times_trend=trend(weeks, least=0.0),
    )


def key_of(bundle: dict[str, Any]) -> str:
    """What names a bundle of one digest in an address."""
    return f"{clean(bundle['name'], 60)}@{(bundle['digest'] or '')[:16]}"


def day_parts(day: dict[str, Any]) -> dict[str, int]:
    """The jobs of a day by how they stand now."""
    rest = day["jobs"] - day["delivered"] - day["held"] - day["failed"]
    return {"delivered": day["delivered"], "other": rest, "held": day["held"], "failed": day["failed"]}


def drifts(place: Place, bundle: str, versions: dict[str, str], choice: Choice) -> dict[str, Any]:
    """The charts of a bundle."""
    return drift_values(board_of(place.engine, bundle, versions), choice)
