"""A bundle with random weights, small enough to run in a test: real files, real networks, no skill."""

import hashlib
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from rtseg_daemon.networks import build

ORGANS = ("Brainstem", "SpinalCord", "Parotid_L")


CALIBRATION = {"intercept": 0.9, "coefficients": {}, "half_width": 0.1}
"""Every organ is as good as every other: an organ without a calibration would never be OK."""


def make_bundle(
    models: Path, name: str = "tiny", members: int = 2, intended_use: str = "evaluation", version: str = ""
) -> Path:
    """Write bundle `name` into `models`, or into the folder of its `version` there; returns its folder."""
    folder = models / name / version
    folder.mkdir(parents=True)
    arguments = {"width": 2}
    entries = []
    for index in range(members):
        torch.manual_seed(index)
        path = folder / f"member{index}.safetensors"
        net = build("sepnet", classes=len(ORGANS) + 1, **arguments)
        save_file({k: v.half() for k, v in net.state_dict().items()}, str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        intensity = ("SLF1", "SLF2", "SLF3")[index % 3]
        entries.append({"name": path.stem, "file": path.name, "sha256": digest, "intensity": intensity})
    document = {
        "format": 1,
        "name": name,
        "version": version or "1.0",
        "intended_use": intended_use,
        "description": "random weights for tests",
        "family": "sepnet",
        "arguments": arguments,
        "classes": [{"name": organ, "weights": [1.0] * members, "calibration": CALIBRATION} for organ in ORGANS],
        "members": entries,
        "spacing_mm": [5.0, 8.0, 8.0],
        "window": [16, 24, 24],
        "extent_mm": [400.0, 300.0, 250.0],
    }
    (folder / "bundle.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder
