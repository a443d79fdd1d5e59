"""How the daemon is, as numbers for a monitoring system: `metrics.prom` in the storage directory.

The text is Prometheus' exposition format, version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). It holds
counts and times. No label names a patient, a study or a series.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Samples = Iterable[tuple[dict[str, str], float]]


@dataclass(frozen=True)
class Measurements:
    """What the metrics say. `status` is `views.status_shape`'s. Times are seconds since 1970."""

    status: Mapping[str, Any]
    late_series: int
    free_bytes: int
    finished: Mapping[str, float]
    """Chore -> when it last ended without an error."""
    now: float


@dataclass(frozen=True)
class Metric:
    """One metric with its samples (labels, value). `kind` is gauge or counter."""

    name: str
    help: str
    samples: Samples
    kind: str = "gauge"


def metrics_text(facts: Measurements) -> str:
    """The whole file."""
    return "".join(rendered(metric) for metric in metrics_of(facts))


def metrics_of(facts: Measurements) -> list[Metric]:
    """Every metric. Most are gauges, since a ledger row may change its state or be counted anew."""
    status = facts.status
    return [
        Metric("rtseg_jobs", "Jobs by state.", by_state(status["jobs"])),
        Metric("rtseg_shadow_jobs", "Jobs of shadows by state.", by_state(status["shadow_jobs"])),
        Metric("rtseg_series", "Series by state.", by_state(status["series"])),
        Metric("rtseg_deliveries", "Deliveries by state.", by_state(status["deliveries"])),
        Metric("rtseg_returned_sets", "Structure sets that came back, by state.", by_state(status["returned"])),
        Metric(
            "rtseg_series_late",
            "Series whose contours are not delivered series.late_minutes after their last slice.",
            single(facts.late_series),
        ),
        Metric(
            "rtseg_oldest_waiting_seconds",
            "Age of the oldest job that is neither finished nor held; 0 if there is none.",
            single(status["oldest_waiting_seconds"] or 0.0),
        ),
        Metric("rtseg_alarms_unsent", "Alarms that a channel has not taken yet.", single(status["unsent_alarms"])),
        Metric("rtseg_alarms_unacknowledged", "Alarms that nobody has seen.", single(status["unacknowledged_alarms"])),
        Metric(
            "rtseg_rejected_associations_total",
            "Incoming associations that were rejected, by reason.",
            [({"reason": kind}, count) for kind, count in sorted(status["rejected_associations"].items())],
            "counter",
        ),
        Metric("rtseg_storage_free_bytes", "Free space where the storage directory lies.", single(facts.free_bytes)),
        Metric(
            "rtseg_destination_up",
            "1 if the destination answered when last tried, 0 if not; absent if never tried.",
            [({"destination": d["name"]}, d["up"]) for d in status["destinations"] if d["up"] is not None],
        ),
        Metric(
            "rtseg_chore_finished_timestamp_seconds",
            "When a periodic chore of the supervisor last ended without an error.",
            [({"chore": name}, at) for name, at in sorted(facts.finished.items())],
        ),
        Metric("rtseg_metrics_timestamp_seconds", "When these metrics were written.", single(facts.now)),
    ]


def by_state(counts: Mapping[str, int]) -> Samples:
    return [({"state": state}, count) for state, count in counts.items()]


def single(value: float) -> Samples:
    return [({}, value)]


def rendered(metric: Metric) -> str:
    """HELP, TYPE and a line per sample."""
    lines = [f"# HELP {metric.name} {escaped(metric.help)}", f"# TYPE {metric.name} {metric.kind}"]
    lines += [f"{metric.name}{labelled(labels)} {number(value)}" for labels, value in metric.samples]
    return "\n".join(lines) + "\n"


def labelled(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{escaped(value, quoted=True)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def escaped(text: str, *, quoted: bool = False) -> str:
    r"""Backslash and line feed as `\\` and `\n`, inside quotes also the double quote as `\"`."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quoted else text


def number(value: float) -> str:
    """Whole numbers without a fraction, others to the millisecond."""
    return str(int(value)) if float(value).is_integer() else f"{value:.3f}"
