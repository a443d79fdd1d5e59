"""Whether SOL-Net of a FocusNet finds the small organs: how far its heat's peak lies from the centre that was drawn.

    python bench/localise.py RUNS --member localise --data SET [--note TEXT] [--log FILE]

RUNS is the folder that `rtseg-train train` wrote. Found means that the peak lies within a quarter of the box from the
centre in each direction, so that the box around it holds the organ. Distances are in mm.
"""

from statistics import mean, median

import numpy as np
import torch
from rtseg_training.learn.focus import centres_of
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Recipe
from stage_runs import Row, StageRun, told

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


def measured(run: StageRun) -> dict[str, Row]:
    """How many of each small organ are found, and how far off."""
    rows = [row for case in run.cases for row in looked_at(run.net, case, run.recipe)]
    organs = {}
    for name in run.recipe.small_organs:
        own = [row for row in rows if row[0] == name]
        organs[name] = {
            "cases": len(own),
            "found": sum(row[2] for row in own),
            "median_mm": round(median(float(np.linalg.norm(row[1])) for row in own), 1),
            "height": round(mean(row[3] for row in own), 3),
        }
    return organs


if __name__ == "__main__":
    told(__doc__, "localise", measured, "{found} of {cases} found, {median_mm} mm off, height {height}")
