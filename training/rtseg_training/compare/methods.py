"""All methods in one table: what each is, what its training cost, how good and how fast it is, its paper's figure."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.calibration import StrictModel
from rtseg_daemon.networks import build
from rtseg_training.compare.listing import load_list
from rtseg_training.errors import RecipeError

PROCESSOR, CARD = "processor", "card"
BEGINS = "| method | bundle |"


class Method(StrictModel):
    """A method as its bundle has it.

    Args:
        bundle: the bundle's name.
        method: what the table calls it.
        paper: the paper's own figure on its own data, with its place.
    """

    bundle: str
    method: str
    paper: str


Speeds = Mapping[tuple[str, str], float]
"""Seconds a case by bundle, as `NAME VERSION`, and by where: `processor` or `card`."""


def load_methods(path: Path) -> list[Method]:
    """Read the methods. Raises RecipeError naming what is wrong."""
    return load_list(path, Method)


def read_speeds(path: Path) -> dict[tuple[str, str], float]:
    """The last seconds a case of each bundle that `bench/methods.py` wrote. Raises RecipeError for what it did not."""
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        return {(f"{row['bundle']} {row['version']}", str(row["where"])): float(row["seconds"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path} cannot be read ({error}); bench/methods.py writes it") from error


def parameters_of(bundle: Bundle) -> int:
    """Weights of all members together."""
    net = build(bundle.family, classes=len(bundle.classes) + 1, **bundle.arguments)
    return len(bundle.members) * sum(p.numel() for p in net.parameters())


def method_lines(methods: Sequence[Method], bundles: Sequence[Bundle], speeds: Speeds) -> list[str]:
    """The table. A method whose bundle is not among `bundles` is left out."""
    known = {bundle.name: bundle for bundle in bundles}
    shown = [(method, known[method.bundle]) for method in methods if method.bundle in known]
    organs = list(dict.fromkeys(organ.name for _, bundle in shown for organ in bundle.classes))
    heads = ["method", "bundle", "members", "parameters", "hours of training", *organs]
    heads += ["s a case, 2 cores", "s a case, card", "the paper, on its own data"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for method, bundle in shown:
        called = f"{bundle.name} {bundle.version}"
        cells = [method.method, called, str(len(bundle.members)), f"{parameters_of(bundle):,}"]
        cells.append(str(bundle.provenance.get("training hours", "-")))
        cells += [f"{bundle.figures[organ]['dice']:.3f}" if organ in bundle.figures else "-" for organ in organs]
        cells += [f"{speeds[called, where]:.2f}" if (called, where) in speeds else "-" for where in (PROCESSOR, CARD)]
        lines.append("| " + " | ".join([*cells, method.paper]) + " |")
    return lines


def with_table(page: str, table: Sequence[str]) -> str:
    """A Markdown page with its table of methods replaced. Raises RecipeError where it has none."""
    lines = page.split("\n")
    first = next((k for k, line in enumerate(lines) if line.startswith(BEGINS)), None)
    if first is None:
        raise RecipeError(f"the page has no table of all methods: no line begins with `{BEGINS}`")
    end = next((k for k in range(first, len(lines)) if not lines[k].startswith("|")), len(lines))
    return "\n".join([*lines[:first], *table, *lines[end:]])
