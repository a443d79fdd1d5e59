"""How the daemon stands: what `status --json`, the dashboard and its REST twin show, from one function."""

import time
from typing import Any

from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.ledger import supervision, views
from rtseg_daemon.ledger.cards import cards_in_ray
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.host_views import card_shapes, host_shapes
from rtseg_daemon.ledger.loss import quick_check
from rtseg_daemon.segment.engines.making import being_made, making_shape
from rtseg_daemon.storage import is_locked, layout_of
from rtseg_daemon.upkeep.certificates import own_ends, web_ends
from rtseg_daemon.upkeep.health import Observations, problems, stopped


def standing(engine: Engine, config: Config, *, deep: bool = False) -> dict[str, Any]:
    """`views.status_shape`, what is being compiled, and what is wrong. `deep` looks for damage in the ledger too.

    Raises LedgerError or SQLAlchemyError where the ledger cannot be read.
    """
    shape, facts = observed(engine, config, deep=deep)
    cache = layout_of(config).engine_cache
    pids = {process["pid"] for process in shape["workers"] if process["pid"] is not None}
    compiling = [making_shape(making, facts.now) for making in being_made(cache, pids, facts.now)]
    return shape | {"compiling": compiling, "problems": problems(facts)}


def observed(engine: Engine, config: Config, *, deep: bool = False) -> tuple[dict[str, Any], Observations]:
    """`views.status_shape`, and the facts by which it is judged. Raises as `standing`."""
    layout = layout_of(config)
    running = is_locked(layout)
    if deep:
        quick_check(engine)
    with reading(engine) as session:
        names, free = config.destination_names, round(layout.free_gb(), 1)
        shape = views.status_shape(session, time.time(), free, names, running, config.own_host)
        pulse = supervision.last_pulse(session, config.own_host)
        shape["hosts"] = host_shapes(session)
        shape["cards"] = card_shapes(session)
        ray = cards_in_ray(session) if config.compute.cluster is not None else None
    facts = Observations(
        running=shape["running"],
        processes=shape["processes"],
        pulse=pulse,
        now=time.monotonic(),
        read_only=layout.read_only(),
        certificates=[*own_ends(config.dicom.tls, time.time()), *web_ends(config.web, time.time())],
        stopped=stopped([process["pid"] for process in shape["processes"]] + [pulse.pid if pulse else None]),
        ray=ray,
        unsent=(shape["unsent_alarms"], shape["unsent_alarms_error"] or ""),
    )
    return shape, facts
