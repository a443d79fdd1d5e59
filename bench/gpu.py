"""What a card does with the networks: seconds, share of its peaks, agreement with float32 on the processor.

    python bench/gpu.py                 everything, on the first CUDA device; at most six minutes
    python bench/gpu.py --only oar      rows whose name holds a word: oar, wide, anatomynet, training
    python bench/gpu.py --device cpu    the same lines at a tiny size, to see that they run

Needs torch, numpy, safetensors and this checkout. MONAI's rows need MONAI (`pip install --no-deps monai`); windows as
MONAI places them, in plain torch, stand beside them in any case. All ways of a table run once a round, in turn, and
medians over the rounds are compared. The CT is the average of many patients that the demo's phantom is made from.
Every way begins with the CT on the network's grid and ends with masks on the CT's grid, this engine's with uncertainty.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from gpu_ways import (  # noqa: E402
    Found,
    Setting,
    ct_around,
    ct_on,
    monai_windows,
    ours,
    plain_windows,
    random_bundle,
    shipped_bundle,
    usual,
)

from rtseg_daemon.anatomy.volume import Array, Box, Shape, Volume  # noqa: E402
from rtseg_daemon.networks import build  # noqa: E402
from rtseg_daemon.segment.engines import torch_engine  # noqa: E402
from rtseg_daemon.segment.engines.engine import Choice  # noqa: E402
from rtseg_daemon.segment.engines.forms import recorded_for_training, trainable_form  # noqa: E402
from rtseg_daemon.segment.infer import member_probabilities, plan_windows, window_for  # noqa: E402

ROUNDS = 5


def engine_of(bundle: Any, device: str, precision: str) -> torch_engine.TorchEngine:
    """This project's engine, four windows at once where a volume needs several."""
    plan: Any = SimpleNamespace(streams=4)
    return torch_engine.TorchEngine(bundle, Choice(device, "torch", precision, plan=plan))


def seconds_of(ways: dict[str, Callable[[], object]], setting: Setting) -> dict[str, float]:
    """Median seconds of each way over rounds in which all run in turn, after two to warm up (tiny: none)."""
    warm = 0 if setting.tiny else 2
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(setting.rounds + warm):
        for name, way in ways.items():
            finish(setting)
            began = time.perf_counter()
            way()
            finish(setting)
            if turn >= warm:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def finish(setting: Setting) -> None:
    """Wait until the device has done all that it was given."""
    if setting.device != "cpu":
        torch.cuda.synchronize()


def show(title: str, seconds: dict[str, float]) -> None:
    """A table; ratios are to its first line."""
    first = next(iter(seconds.values()))
    print(f"\n{title}")
    for name, value in seconds.items():
        print(f"  {name:<58}{1000 * value:>10.2f} ms {value / first:>7.2f} x", flush=True)


def peaks(setting: Setting) -> tuple[float, float]:
    """FLOP/s of a matrix product and bytes/s of a copy (read and written), the medians of this run."""
    n, size = (256, 2**20) if setting.tiny else (8192, 2**30)
    a, b = (torch.randn(n, n, device=setting.device).to(setting.half) for _ in range(2))
    source = torch.empty(size, dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    seconds = seconds_of({"product": lambda: a @ b, "copy": lambda: target.copy_(source)}, setting)
    product, copy = 2 * n**3 / seconds["product"], 2 * size / seconds["copy"]
    print(f"matrix peak {product / 1e12:.1f} TFLOP/s ({n} x {n}), copy {copy / 1e12:.2f} TB/s")
    return product, copy


def work_of(net: torch.nn.Module, window: Shape) -> tuple[float, float]:
    """FLOP of the convolutions over one window, and bytes that they must read and write in 16 bit; counted only."""
    total = moved = 0

    def count(module: torch.nn.Conv3d, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total, moved
        total += 2 * module.weight.numel() * output[0, 0].numel()
        moved += 2 * (inputs[0].numel() + output.numel())

    net = net.to("meta")
    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, torch.nn.Conv3d)]
    with torch.inference_mode():
        net(torch.zeros(1, 1, *window, device="meta"))
    for hook in hooks:
        hook.remove()
    return float(total), float(moved)


def dice(a: Found, b: Found, shape: Shape) -> dict[str, float]:
    """Dice of each organ that either found."""
    scores = {}
    for name in sorted(a.keys() | b.keys()):
        one, other = (mask_of(found.get(name), shape) for found in (a, b))
        scores[name] = 2 * int((one & other).sum()) / max(1, int(one.sum()) + int(other.sum()))
    return scores


def mask_of(found: tuple[Box, Array] | None, shape: Shape) -> Array:
    mask = np.zeros(shape, bool)
    if found is not None:
        mask[found[0].slices] = found[1] > 0
    return mask


def ensemble_table(
    name: str, bundle: Any, network: Volume, shape: Shape, setting: Setting, peak: tuple[float, float]
) -> None:
    """Six members, from the CT on the network's grid to masks and uncertainty, beside the usual ways."""
    grid, part = ct_around(network, shape)
    began = time.perf_counter()
    engine = engine_of(bundle, setting.device, setting.precision)
    finish(setting)
    started = time.perf_counter() - began
    ours(engine, bundle, network, grid)
    finish(setting)
    print(f"\n{name}: engine started in {started:.2f} s, first case in {time.perf_counter() - began - started:.2f} s")
    if engine.trouble:
        print(f"  the card's own form is not in use: {engine.trouble}")
    nets = [torch_engine.load_member(bundle, i).to(setting.device) for i in range(len(bundle.members))]
    windows = {"MONAI sliding_window_inference": monai_windows(bundle), "plain windows": plain_windows(bundle)}
    ways: dict[str, Callable[[], object]] = {
        "this engine, with uncertainty": lambda: ours(engine, bundle, network, grid)
    }
    for label, predict in windows.items():
        if predict is None:
            print(f"  left out: {label} is not installed")
            continue
        for half in (True, False) if setting.device != "cpu" else (False,):
            ways[f"{label}, {'fp16 autocast' if half else 'fp32'}"] = partial(
                usual, predict, nets, bundle, network, (grid, part), half
            )
    show(f"{name}, {len(bundle.members)} members, grid {network.shape}, CT {grid.shape}", seconds_of(ways, setting))
    window = window_for(network.shape, bundle.window, bundle.window_step)
    count = len(plan_windows(network.shape, window, bundle.overlap))
    work, moved = (n * count * len(nets) for n in work_of(torch_engine.load_member(bundle, 0), window))
    forward = seconds_of(
        {"": lambda: [None for _ in member_probabilities(engine, bundle, network.array, beat)]}, setting
    )
    product, copy = (100 * n / forward[""] / most for n, most in zip((work, moved), peak, strict=True))
    print(f"  forward passes {1000 * forward['']:.2f} ms: {work / 1e12:.2f} TFLOP, {product:.1f} % of the matrix peak")
    print(f"  {moved / 1e9:.1f} GB in and out of the convolutions, {copy:.1f} % of the copy's bytes a second")
    if setting.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        ours(engine, bundle, network, grid)
        largest = torch_engine.count_largest_layer(bundle, window) * 2
        peak_bytes = torch.cuda.max_memory_allocated()
        print(f"  peak memory {peak_bytes / 2**30:.2f} GiB; one layer's largest output is {largest / 2**20:.0f} MiB")
    reference = ours(engine_of(bundle, "cpu", "fp32"), bundle, network, grid) if bundle.window_step else {}
    scores = dice(ours(engine, bundle, network, grid), reference, grid.shape) if reference else {}
    if scores:
        print("  Dice against torch fp32 on the processor:", {k: round(v, 5) for k, v in scores.items()})


def beat() -> None:
    """Nobody watches."""


def anatomynet_table(setting: Setting, folder: Path) -> None:
    """One pass of AnatomyNet over a whole volume."""
    shape = setting.size((176, 304, 224), (16, 16, 16))
    widths = [8, 8, 8, 8] if setting.tiny else [28, 30, 32, 34]
    one = random_bundle(folder, "anatomynet", {"widths": widths}, 9, 1, shape)
    engine = engine_of(one, setting.device, setting.precision)
    net = torch_engine.load_member(one, 0).requires_grad_(False).to(setting.device)
    image = torch.rand(1, 1, *shape, device=setting.device)

    def as_built() -> object:
        with torch.no_grad(), torch.autocast(image.device.type, setting.half, enabled=setting.device != "cpu"):
            return net(image).float().softmax(1)

    def form() -> object:
        if setting.device == "cpu":
            return list(engine.run([(0, image[0, 0].numpy())]))
        return engine.members[0](image)

    seconds = seconds_of({"this engine": form, "as built, autocast, contiguous": as_built}, setting)
    show(f"AnatomyNet, {shape}", seconds)
    if setting.device != "cpu":
        alike = (engine.members[0](image).argmax(1) == as_built().argmax(1)).float().mean()  # type: ignore[attr-defined]
        print(f"  labels equal in {100 * float(alike):.3f} % of the voxels")


def training_table(setting: Setting) -> None:
    """A step of width 48, batch 2, patch 96 x 64 x 64: forward, cross entropy, backward, SGD."""
    width, patch = (8, (16, 16, 16)) if setting.tiny else (48, (96, 64, 64))
    image = torch.rand(2, 1, *patch, device=setting.device)
    labels = torch.randint(0, 9, (2, *patch), device=setting.device)
    steps: dict[str, Callable[[], object]] = {}
    for name in ("the form, recorded", "the form", "as built, contiguous"):
        torch.manual_seed(0)
        net = build("sepnet", classes=9, width=width).to(setting.device)
        trainee = net if name.startswith("as") else trainable_form(net) if setting.device != "cpu" else None
        if trainee is None:
            print(f"left out: {name} (no card, or no Triton)")
            continue
        half = trainee is not net
        if name.endswith("recorded"):
            trainee = recorded_for_training(trainee, image.to(torch.bfloat16))
        optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9)
        steps[name] = partial(one_step, trainee, optimizer, image, labels, half, setting)
        losses = [float(steps[name]()) for _ in range(5)]  # type: ignore[arg-type]
        print(f"  losses of the first steps, {name}: {', '.join(f'{loss:.4f}' for loss in losses)}")
    show(f"training step, width {width}, batch 2, patch {patch}", seconds_of(steps, setting))


def one_step(
    net: Any, optimizer: Any, image: torch.Tensor, labels: torch.Tensor, form: bool, setting: Setting
) -> float:
    with torch.autocast(image.device.type, torch.bfloat16, enabled=setting.device != "cpu" and not form):
        logits = net(image.to(torch.bfloat16) if form else image)
    loss = F.cross_entropy(logits.float(), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", default="", help="tables whose name holds this: oar, wide, anatomynet, training")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--cudnn-heuristics", action="store_true", help="cuDNN picks kernels without trying them")
    options = parser.parse_args()
    began = time.monotonic()
    tiny = options.device == "cpu"
    setting = Setting(options.device, tiny, 1 if tiny else options.rounds)
    card = "the processor, tiny sizes" if tiny else torch.cuda.get_device_name()
    print(f"{card}; torch {torch.__version__}; {setting.rounds} rounds")
    torch.backends.cudnn.benchmark = not options.cudnn_heuristics  # for every way alike
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peak = peaks(setting)
        for slices in (150, 300):
            if options.only in f"oar {slices}":
                oar = shipped_bundle(setting)
                network = ct_on(setting.size((96, 64, 64), (16, 16, 16)), (2.5, 3.906, 3.906))
                shape = setting.size((slices, 512, 512), (24, 32, 32))
                ensemble_table(f"han-oar, {slices} slices", oar, network, shape, setting, peak)
        if options.only in "wide":
            window = setting.size((64, 128, 128), (16, 16, 16))
            wide = random_bundle(folder, "sepnet", {"width": 8 if tiny else 48}, 8, 2 if tiny else 6, window)
            network = ct_on(setting.size((74, 240, 216), (24, 24, 24)), (3.0, 1.0, 1.0))
            shape = setting.size((150, 512, 512), (24, 32, 32))
            ensemble_table("width 48 at 1 x 1 x 3 mm", wide, network, shape, setting, peak)
        if options.only in "anatomynet":
            anatomynet_table(setting, folder)
        if options.only in "training":
            training_table(setting)
    print(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
