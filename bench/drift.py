"""The control charts on made-up departments: false alarms in cases without a drift, and how soon a drift is told.

    python bench/drift.py [--patients 600] [--departments 100] [--seed 7]

Patients are made from masks as in `tests/drifting.py`, and their figures measured by `feedback.difference`. A
department's cases are drawn from them. "Marks" are what Nelson's rules 1 to 3 find, each of which would be an alarm if
nothing had to confirm it.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rtseg_daemon.upkeep.drift.measures import MEASURES
from tests.drifting import GROWN, MOVED, SWAPPED, USUAL, Values, alarms_of, cases, drawn, first_alarm, naive_alarms

LENGTH = 300
DRIFTS = {"2 mm larger all around": GROWN, "2 mm to the left": MOVED, "another bundle": SWAPPED}
BEFORE = (40, 60, 150)


def false_alarms(usual: list[Values], departments: int) -> None:
    """Departments of LENGTH cases without a drift."""
    told = [alarms_of(drawn(usual, LENGTH, seed)) for seed in range(departments)]
    charts = [len(found) for one in told for found in one.values()]
    organs = [sum(map(len, one.values())) for one in told]
    single = [measure for measure in MEASURES if not measure.is_share]
    few = range(min(departments, 20))
    marked = [naive_alarms(drawn(usual, LENGTH, seed), measure) for seed in few for measure in single]
    print(f"{departments} departments, {LENGTH} cases of one organ without a drift, {len(MEASURES)} charts each")
    print(f"  alarms per chart and {LENGTH} points: {statistics.fmean(charts):.4f}, at most {max(charts)}")
    print(f"  charts with none: {sum(n == 0 for n in charts) / len(charts):.2%}, with more than one: "
          f"{sum(n > 1 for n in charts)} of {len(charts)}")  # fmt: skip
    print(f"  departments in which no chart of the organ alarmed: {sum(n == 0 for n in organs) / departments:.1%}")
    print(f"  marks by Nelson's rules per chart and {LENGTH} points: {statistics.fmean(marked):.1f}")


def delays(usual: list[Values], drifted: list[Values], departments: int) -> None:
    """How many cases of a drift pass until the first chart alarms, of 15."""
    for before in BEFORE:
        found = [first_alarm(drawn(usual, before, s), drawn(drifted, 15, s), v)
                 for s in range(departments // 2) for v in ("1.5", "1.6")]  # fmt: skip
        soon = [one for one in found if one is not None]
        print(f"  after {before} cases: told within 15 in {len(soon)} of {len(found)}, "
              f"median {statistics.median(soon):.0f}, at most {max(soon)}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=600)
    parser.add_argument("--departments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    usual = cases(USUAL, asked.patients, asked.seed)
    false_alarms(usual, asked.departments)
    for number, (name, world) in enumerate(DRIFTS.items(), 1):
        print(name)
        delays(usual, cases(world, max(60, asked.patients // 5), asked.seed + number), asked.departments)


if __name__ == "__main__":
    main()
