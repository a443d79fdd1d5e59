"""Whether SOL-Net of a FocusNet finds the small organs: how far its heat's peak lies from the centre that was drawn.

    python bench/localise.py RUNS --member localise --data SET [--note TEXT] [--log FILE]

RUNS is the folder that `rtseg-train train` wrote. Found means that the peak lies within a quarter of the box from the
centre in each direction, so that the box around it holds the organ. Distances are in mm.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from rtseg_training.learn.cache import ready_cases
from rtseg_training.learn.checkpoint import load_into, read_meta, read_weights
from rtseg_training.learn.focus import centres_of
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Recipe, load_recipe
from rtseg_training.learn.trainer import network_of
from rtseg_training.sets.joined import listed

from rtseg_daemon.anatomy.volume import AIR_HU, Array
from rtseg_daemon.networks.focusnet import FocusNet, peak
from rtseg_daemon.segment.infer import network_input, padded_window


@torch.no_grad()
def looked_at(net: FocusNet, case: TrainingCase, recipe: Recipe) -> list[tuple[str, Array, bool, float]]:
    """For each small organ that is drawn: its name, peak minus centre in mm, whether it is found, the peak's height."""
    shape = recipe.patch
    hu = padded_window(case.hu.array, (0, 0, 0), shape, AIR_HU)
    labels = padded_window(np.asarray(case.labels, np.int16), (0, 0, 0), shape, 0)
    image = torch.from_numpy(network_input(hu, recipe.intensity[0]))[None, None]
    with torch.autocast("cpu", torch.bfloat16):
        heat = torch.sigmoid(net.sol(net.snet(image)[1])).float()
    centres = centres_of(torch.from_numpy(labels.astype(np.int64))[None], net.small)[0]
    found = []
    for k, name in enumerate(recipe.small_organs):
        if centres[k, 0] >= 0 and case.annotated[net.small[k]]:
            apart = (peak(heat[:, k])[0] - centres[k]).numpy()
            inside = bool((np.abs(apart) <= np.asarray(net.boxes[k]) / 4).all())
            found.append((name, apart * np.asarray(recipe.spacing_mm), inside, float(heat[:, k].max())))
    return found


def measured(runs: Path, member: str, data: Path) -> dict[str, Any]:
    """All cases of a set, as one line of the log."""
    plan = load_recipe(runs / "recipe.yaml")
    recipe = plan.for_member(plan.member(member))
    checkpoint = runs / member / "checkpoint.safetensors"
    net = network_of(recipe).eval()
    assert isinstance(net, FocusNet)
    load_into(checkpoint, net, read_weights(checkpoint))
    rows = [row for case in ready_cases(listed(data), recipe, makers=1) for row in looked_at(net, case, recipe)]
    organs = {}
    for name in recipe.small_organs:
        own = [row for row in rows if row[0] == name]
        organs[name] = {
            "cases": len(own),
            "found": sum(row[2] for row in own),
            "median_mm": round(median(float(np.linalg.norm(row[1])) for row in own), 1),
            "height": round(mean(row[3] for row in own), 3),
        }
    return {"member": f"{plan.name}/{member}", "steps": read_meta(checkpoint)["step"], "organs": organs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--member", default="localise")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--note", default="")
    parser.add_argument("--log", type=Path)
    asked = parser.parse_args()
    line = measured(asked.runs, asked.member, asked.data) | {"note": asked.note}
    for name, row in line["organs"].items():
        print(f"{name}: {row['found']} of {row['cases']} found, {row['median_mm']} mm off, height {row['height']}")
    if asked.log:
        with asked.log.open("a") as file:
            file.write(json.dumps({"when": f"{datetime.now(UTC):%Y-%m-%d}"} | line) + "\n")


if __name__ == "__main__":
    main()
