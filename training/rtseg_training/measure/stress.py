"""What a bundle does with faulty copies of cases: which are held, which organs are flagged, which fail in silence.

Each copy goes the daemon's way from its voxels on: the gate on the voxels, the network, the gate on the organs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from statistics import mean

from rtseg_daemon.anatomy.organ import Flag, Organ
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.gates.organs import judge_organs
from rtseg_daemon.gates.voxels import judge_volume
from rtseg_daemon.segment.pipeline import Segmentation
from rtseg_training.measure.corrupted import FAULTS, FILLED, Fault, corrupted
from rtseg_training.measure.evaluate import TableRow, drawn, organ_row, organ_rows
from rtseg_training.measure.metrics import Scores
from rtseg_training.sets.cases import Case

UNALTERED = Fault("none", lambda case, _rng: case, "image")
NOTHING = Scores(0.0, inf, inf, 0.0, 0.0, inf)
"""Of an organ that is not there and is found."""


@dataclass(frozen=True)
class Outcome:
    """What came of one copy.

    Args:
        held: the reason why it waits for a person, empty where it goes on.
        rows: one for each organ with a known truth, with its flag.
    """

    fault: str
    held: str
    rows: tuple[TableRow, ...]


def chosen_faults(number: int, count: int, faults: Sequence[Fault] = FAULTS) -> list[Fault]:
    """`count` faults for case `number`: over the cases each fault comes equally often."""
    return [faults[(number * count + k) % len(faults)] for k in range(min(count, len(faults)))]


def faulty_copies(case: Case, number: int, count: int, seed: int) -> Iterator[tuple[Case, Fault]]:
    """`count` copies of case `number` of a set, those that it can have."""
    for fault in chosen_faults(number, count):
        if (copy := corrupted(case, fault, seed)) is not None:
            yield copy, fault


def copy_rows(copy: Case, fault: Fault, organs: Sequence[Organ], tolerance_mm: float = 3.0) -> list[TableRow]:
    """Rows of every organ whose truth is known. One that was taken out and is found all the same has Dice 0."""
    rows = organ_rows(copy, organs, tolerance_mm)
    if fault.kind == "absent":
        rows += [
            organ_row(copy, organ, NOTHING, 0.0)
            for organ in organs
            if copy.status.get(organ.name) == FILLED and organ.found and not drawn(copy, organ.name)
        ]
    named = "" if fault is UNALTERED else fault.name
    return [row | {"fault": named} for row in rows]


def outcome(copy: Case, fault: Fault, bundle: Bundle, segment: Callable[[Case], Segmentation]) -> Outcome:
    """One copy through the gates and the network."""
    voxels = judge_volume(copy.ct)
    if voxels.verdict == "hold":
        return Outcome(fault.name, voxels.reasons[0], ())
    try:
        found = segment(copy)
    except SeriesError as error:
        return Outcome(fault.name, str(error), ())
    organs, verdict = judge_organs(found.organs, bundle, copy.ct)
    flags = {organ.name: str(organ.flag) for organ in organs}
    reasons = {organ.name: "; ".join(organ.reasons) for organ in organs}
    rows = [
        row | {"flag": flags[str(row["organ"])], "reasons": reasons[str(row["organ"])]}
        for row in copy_rows(copy, fault, organs)
    ]
    return Outcome(fault.name, verdict.reasons[0] if verdict.verdict == "hold" else "", tuple(rows))


def stress_table(outcomes: Sequence[Outcome], bundle: Bundle) -> str:
    """Markdown: per fault the copies, how many are held, and of the organs of the others how many are flagged.

    Unacceptable are organs with a Dice below the bundle's limit. Silent are those of them that say OK.
    """
    limits = {organ.name: organ.acceptable for organ in bundle.classes}
    lines = [
        "| fault | copies | held | organs sent | flagged | true Dice | predicted | unacceptable | silent |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for fault in dict.fromkeys(one.fault for one in outcomes):
        own = [one for one in outcomes if one.fault == fault]
        rows = [row for one in own if not one.held for row in one.rows]
        held = sum(bool(one.held) for one in own)
        bad = [row for row in rows if float(row["dice"]) < limits[str(row["organ"])]]
        silent = [row for row in bad if row["flag"] == Flag.OK]
        flagged = [row for row in rows if row["flag"] != Flag.OK]
        foretold = [float(row["predicted"]) for row in rows if "predicted" in row]
        cells = [
            fault, len(own), held, len(rows), share(len(flagged), len(rows)),
            average([float(row["dice"]) for row in rows]), average(foretold), len(bad), len(silent),
        ]  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def share(part: int, whole: int) -> str:
    """A share of `whole` in percent, `-` of nothing."""
    return f"{part / whole:.0%}" if whole else "-"


def average(values: Sequence[float]) -> str:
    """Mean with two digits, `-` of nothing."""
    return f"{mean(values):.2f}" if values else "-"
