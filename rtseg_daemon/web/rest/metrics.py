"""GET /metrics: the daemon's numbers for Prometheus. Counts and times, and no patient data."""

import threading
import time
import weakref
from collections.abc import Iterator

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.storage import is_locked
from rtseg_daemon.upkeep import metrics
from rtseg_daemon.upkeep.lateness import late_series
from rtseg_daemon.web.people.guard import at_least, person_of
from rtseg_daemon.web.place import Here, Place
from rtseg_daemon.web.rest.results import Results

router = APIRouter(include_in_schema=False)

LOCK = threading.Lock()
RESULTS: "weakref.WeakKeyDictionary[Engine, Results]" = weakref.WeakKeyDictionary()


@router.get("/metrics")
async def metrics_page(request: Request, place: Here) -> Response:
    """Prometheus' text format. Where others than this machine reach the dashboard, a token or a session is needed."""
    if place.config.web.exposed:
        await at_least(Role.VIEWER)(await person_of(request, place))
    return Response(await run_in_threadpool(text, place), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def text(place: Place) -> bytes:
    """The whole page. Raises SQLAlchemyError where the ledger cannot be read."""
    results = results_of(place.engine)
    results.catch_up()
    now = CollectorRegistry()
    now.register(Standing(measured(place)))
    return bytes(generate_latest(now)) + bytes(generate_latest(results.registry))


def results_of(engine: Engine) -> Results:
    """The counters of this ledger, made when they are asked for first."""
    with LOCK:
        if engine not in RESULTS:
            RESULTS[engine] = Results(engine)
        return RESULTS[engine]


def measured(place: Place) -> metrics.Measurements:
    """What `metrics.prom` says too, but for the chores, which the supervisor alone knows."""
    config, layout, now = place.config, place.layout, time.time()
    free = layout.free_bytes()
    with reading(place.engine) as session:
        destinations, gigabytes = config.destination_names, round(free / 1e9, 1)
        status = views.status_shape(session, now, gigabytes, destinations, is_locked(layout), config.own_host)
        late = sum(1 for _ in late_series(session, now - config.series.late_minutes * 60.0))
    return metrics.Measurements(status, late, free, {}, now)


class Standing(Collector):
    """The daemon at this moment."""

    def __init__(self, facts: metrics.Measurements) -> None:
        self.facts = facts

    def collect(self) -> Iterator[Metric]:
        for metric in metrics.metrics_of(self.facts):
            samples = list(metric.samples)
            keys = list(samples[0][0]) if samples else []
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name.removesuffix("_total"), metric.help, labels=keys)
            for labels, value in samples:
                family.add_metric([labels[key] for key in keys], value)
            yield family
        processes = GaugeMetricFamily("rtseg_process_up", "1 if a process of the daemon runs.", labels=["process"])
        for process in self.facts.status["processes"]:
            processes.add_metric([process["name"]], float(process["state"] == "running"))
        yield processes
