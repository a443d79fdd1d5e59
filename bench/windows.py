"""How high a window a trained network should look through: Dice of one set of weights in windows of several shapes.

    python bench/windows.py RUNS --member NAME --data SET --window 32,64,64 --window 48,64,64 [--log FILE]

RUNS is the folder that `rtseg-train train` wrote. Windows are `z,y,x` in voxels. Nothing is trained anew: a network
whose layers take means over the window may be worse in windows that it has not learned in, although they show more.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean

from rtseg_training.compare.score import finished, score_case
from rtseg_training.learn.cache import ready_cases
from rtseg_training.learn.recipe import load_recipe
from rtseg_training.sets.joined import listed


def sides(text: str) -> tuple[int, int, int]:
    z, y, x = map(int, text.split(","))
    return z, y, x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--member", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--window", type=sides, action="append", required=True, metavar="Z,Y,X")
    parser.add_argument("--log", type=Path)
    asked = parser.parse_args()
    plan = load_recipe(asked.runs / "recipe.yaml")
    recipe, net = finished(plan, plan.member(asked.member), asked.runs / asked.member)
    cases = list(ready_cases(listed(asked.data), recipe, makers=1))
    for window in asked.window:
        scores = [score_case(net, case, recipe.model_copy(update={"patch": window})) for case in cases]
        dice = {name: round(mean(s[name] for s in scores if name in s), 4) for name in recipe.classes}
        line = {"when": f"{datetime.now(UTC):%Y-%m-%d}", "member": f"{plan.name}/{asked.member}", "cases": len(cases)}
        print(json.dumps(line := line | {"learned": list(recipe.patch), "window": list(window), "dice": dice}))
        if asked.log:
            with asked.log.open("a") as file:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
