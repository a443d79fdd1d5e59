"""What FocusNet's boxes add to its S-Net: Dice of each small organ by S-Net alone, and with the organ's own network.

    python bench/branches.py RUNS --member focusnet --data SET [--log FILE]

RUNS is the folder that `rtseg-train train` wrote. Both answers are of one set of weights. Differences are by patient,
with a 95 % interval when patients are drawn again.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rtseg_training.compare.questions import bootstrap
from rtseg_training.compare.score import score_case, trained
from rtseg_training.learn.cache import ready_cases
from rtseg_training.learn.checkpoint import read_meta
from rtseg_training.learn.focus import SemanticOnly
from rtseg_training.learn.recipe import load_recipe
from rtseg_training.sets.joined import listed

from rtseg_daemon.networks.focusnet import FocusNet


def measured(runs: Path, member: str, data: Path) -> dict[str, Any]:
    """All cases of a set, as one line of the log."""
    plan = load_recipe(runs / "recipe.yaml")
    recipe = plan.for_member(plan.member(member))
    checkpoint = runs / member / "checkpoint.safetensors"
    net = trained(recipe, checkpoint)
    assert isinstance(net, FocusNet), f"{member} is of a stage that answers through S-Net alone"
    cases = ready_cases(listed(data), recipe, makers=1)
    pairs = [(score_case(SemanticOnly(net), case, recipe), score_case(net, case, recipe)) for case in cases]
    organs = {}
    for name in recipe.small_organs:
        own = np.asarray([(alone[name], whole[name]) for alone, whole in pairs if name in whole])
        gain = own[:, 1] - own[:, 0]
        organs[name] = {
            "cases": len(own),
            "snet": round(float(own[:, 0].mean()), 3),
            "focusnet": round(float(own[:, 1].mean()), 3),
            "gain": round(float(gain.mean()), 3),
            "interval": [round(value, 3) for value in bootstrap(gain)],
        }
    return {"member": f"{plan.name}/{member}", "steps": read_meta(checkpoint)["step"], "organs": organs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--member", default="focusnet")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    asked = parser.parse_args()
    line = measured(asked.runs, asked.member, asked.data)
    for name, row in line["organs"].items():
        low, high = row["interval"]
        print(f"{name}: S-Net {row['snet']}, FocusNet {row['focusnet']}, {row['gain']:+} ({low:+} to {high:+})")
    if asked.log:
        with asked.log.open("a") as file:
            file.write(json.dumps({"when": f"{datetime.now(UTC):%Y-%m-%d}"} | line) + "\n")


if __name__ == "__main__":
    main()
