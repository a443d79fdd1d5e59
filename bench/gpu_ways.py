"""What `bench/gpu.py` times: bundles without what bundles are read with, a CT, this engine and the usual ways."""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

CHECKOUT = Path(__file__).parents[1]
sys.path.insert(0, str(CHECKOUT))

from rtseg_daemon.anatomy.volume import Array, Box, Grid, Shape, Volume  # noqa: E402
from rtseg_daemon.networks import build  # noqa: E402
from rtseg_daemon.segment.ensemble import class_weights, combine, corrected  # noqa: E402
from rtseg_daemon.segment.findings import boxes_of, figures_of, margin_on_ct  # noqa: E402
from rtseg_daemon.segment.infer import member_probabilities, network_input, plan_windows  # noqa: E402
from rtseg_daemon.segment.resample import interpolate  # noqa: E402
from rtseg_daemon.segment.uncertainty import vote_entropy  # noqa: E402

INTENSITIES = ("SLF1", "SLF2", "SLF3")

Found = dict[str, tuple[Box, Array]]
"""Each organ's box on the CT's grid, and its margin there: the mask is where that is positive."""


@dataclass(frozen=True)
class Setting:
    """What the tables are made with: a card at full size, or a processor at a tiny one."""

    device: str
    tiny: bool
    rounds: int

    def size(self, full: Shape, tiny: Shape) -> Shape:
        return tiny if self.tiny else full

    @property
    def half(self) -> torch.dtype:
        return torch.float32 if self.device == "cpu" else torch.float16

    @property
    def precision(self) -> str:
        return "fp32" if self.device == "cpu" else "fp16"


def shipped_bundle(setting: Setting) -> Any:
    """The shipped `han-oar` as far as timing needs it: its weights, and the rest of `bundle.yaml` where PyYAML is."""
    folder = CHECKOUT / "models" / "han-oar"
    weights = sorted(folder.glob("*.safetensors"))
    first = load_file(weights[0])
    width, classes = first["encoder.0.shortcut.weight"].shape[0], first["head.weight"].shape[0] - 1
    facts: dict[str, Any] = {}
    with contextlib.suppress(ImportError):
        import yaml

        facts = yaml.safe_load((folder / "bundle.yaml").read_text())
        weights = [folder / member["file"] for member in facts["members"]]
    if setting.tiny:
        weights = weights[:2]
    count = len(weights)
    organs = facts.get("classes") or [{"name": f"Organ{k}", "weights": [1.0] * count} for k in range(classes)]
    return bundle(
        "sepnet",
        {"width": width},
        [(o["name"], o["weights"][:count], o.get("scale", 1.0)) for o in organs],
        [(path, path.stem.split("-")[0].upper()) for path in weights],
        setting.size(tuple(facts.get("window", (96, 64, 64))), (16, 16, 16)),
        setting.size(tuple(facts.get("window_step") or (8, 8, 8)), (8, 8, 8)),
    )


def random_bundle(
    folder: Path, family: str, arguments: dict[str, Any], organs: int, members: int, window: Shape
) -> Any:
    """Networks with random weights, kept in `folder`: no skill, and the same time."""
    files = []
    for seed in range(members):
        torch.manual_seed(seed)
        path = folder / f"{family}{seed}.safetensors"
        save_file(build(family, classes=organs + 1, **arguments).state_dict(), str(path))
        files.append((path, INTENSITIES[seed % 3]))
    return bundle(family, arguments, [(f"Organ{k}", [1.0] * members, 1.0) for k in range(organs)], files, window, None)


def bundle(
    family: str, arguments: dict[str, Any], organs: list[Any], members: list[Any], window: Shape, step: Shape | None
) -> Any:
    """What the engine reads of a bundle, without what bundles are read with."""
    return SimpleNamespace(
        name=family,
        family=family,
        arguments=arguments,
        classes=[SimpleNamespace(name=name, weights=weights, scale=scale) for name, weights, scale in organs],
        class_names=[name for name, _, _ in organs],
        members=[SimpleNamespace(file=path, intensity=kind, mirror=False) for path, kind in members],
        member_path=lambda member: member.file,
        window=window,
        window_step=step,
        overlap=0.25,
        temperature=1.0,
    )


def ct_on(shape: Shape, spacing: tuple[float, float, float]) -> Volume:
    """The average CT on a network's grid, float32."""
    with np.load(CHECKOUT / "rtseg_daemon" / "demo" / "data" / "template.npz") as data:
        hu = Volume(data["hu"].astype(np.float32), tuple(data["spacing_mm"]), tuple(data["origin_mm"]))
    centre = [o + s * (n - 1) / 2 for o, s, n in zip(hu.origin_mm, hu.spacing_mm, hu.shape, strict=True)]
    origin = [c - s * (n - 1) / 2 for c, s, n in zip(centre, spacing, shape, strict=True)]
    return interpolate(hu, Grid(shape, spacing, (origin[0], origin[1], origin[2])))


def ct_around(network: Volume, shape: Shape) -> tuple[Grid, Box]:
    """A CT's grid of `shape`, twice as wide within the slice as the network's, and the part that the network covers."""
    z, y, x = shape
    part = Box((0, y // 4, x // 4), (z, y // 4 + y // 2, x // 4 + x // 2))
    spacing = [s * n / m for s, n, m in zip(network.spacing_mm, network.shape, part.shape, strict=True)]
    origin = [
        o - s / 2 + t / 2 - t * first
        for o, s, t, first in zip(network.origin_mm, network.spacing_mm, spacing, part.start, strict=True)
    ]
    return Grid(shape, (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2])), part


def ours(engine: Any, bundle: Any, network: Volume, ct: Grid) -> Found:
    """This engine: from the volume to margins and figures of each organ on the host."""
    weights = class_weights([organ.weights for organ in bundle.classes], len(bundle.members))
    scales = np.asarray([1.0, *(organ.scale for organ in bundle.classes)], np.float32)
    members = member_probabilities(engine, bundle, network.array, lambda: None)
    ensemble = combine(corrected(members, scales), weights)
    entropy = vote_entropy(ensemble.votes, len(bundle.classes) + 1)
    found_of = {}
    figures_of(ensemble, entropy, len(bundle.classes), bundle.temperature)
    boxes = boxes_of(ensemble.labels, len(bundle.classes))
    for channel, (organ, coarse) in enumerate(zip(bundle.classes, boxes, strict=True), 1):
        found = margin_on_ct(ensemble, coarse, network, ct, channel) if coarse else None
        if found is not None:
            found_of[organ.name] = found
    return found_of


def usual(predict: Any, nets: list[Any], bundle: Any, network: Volume, ct: tuple[Grid, Box], half: bool) -> Array:
    """The usual way: windows of every member, weighted mean, all classes interpolated on the device, argmax."""
    device = next(nets[0].parameters()).device
    weights = torch.from_numpy(class_weights([o.weights for o in bundle.classes], len(nets))).to(device)
    scales = torch.tensor([1.0, *(o.scale for o in bundle.classes)], device=device)
    hu, total = torch.from_numpy(network.array).to(device), None
    with torch.inference_mode(), torch.autocast(device.type, torch.float16, enabled=half):
        for index, (net, member) in enumerate(zip(nets, bundle.members, strict=True)):
            logits = predict(network_input(hu, member.intensity)[None, None], net)
            p = logits.float().softmax(1) * scales.view(1, -1, 1, 1, 1)
            p = p / p.sum(1, keepdim=True) * weights[index].view(1, -1, 1, 1, 1)
            total = p if total is None else total + p
        fine = F.interpolate(total, size=ct[1].shape, mode="trilinear", align_corners=False)
        labels = torch.zeros(ct[0].shape, dtype=torch.uint8, device=device)
        labels[ct[1].slices] = fine.argmax(1)[0].to(torch.uint8)
        return np.asarray(labels.cpu().numpy())


def monai_windows(bundle: Any) -> Any:
    """MONAI's sliding_window_inference, four windows at once, Gaussian weights; None where MONAI is missing."""
    try:
        from monai.inferers import sliding_window_inference
    except ImportError:
        return None
    return lambda image, net: sliding_window_inference(image, bundle.window, 4, net, bundle.overlap, mode="gaussian")


def plain_windows(bundle: Any) -> Any:
    """The same in plain torch: windows one after the other, added up with equal weights."""

    def predict(image: torch.Tensor, net: torch.nn.Module) -> torch.Tensor:
        pad = [max(0, w - n) for w, n in zip(bundle.window, image.shape[2:], strict=True)]
        image = F.pad(image, (0, pad[2], 0, pad[1], 0, pad[0]))
        total: Any = None
        count = torch.zeros(image.shape[2:], device=image.device)
        for corner in plan_windows(tuple(image.shape[2:]), bundle.window, bundle.overlap):
            inside = tuple(slice(c, c + w) for c, w in zip(corner, bundle.window, strict=True))
            answer = net(image[(..., *inside)]).float()
            if total is None:
                total = torch.zeros(1, answer.shape[1], *image.shape[2:], device=image.device)
            total[(..., *inside)] += answer
            count[inside] += 1
        z, y, x = (n - p for n, p in zip(image.shape[2:], pad, strict=True))
        return (total / count)[:, :, :z, :y, :x]

    return predict
