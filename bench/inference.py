"""Time from a preprocessed volume to masks and uncertainty: this engine beside what others use, same weights, same CT.

    pip install monai nnunetv2          (peers; a row is left out where its package is missing)
    python bench/inference.py                                     phantom, 512 x 512 x 124, shipped bundle
    python bench/inference.py --case ../shared/data/openkbp/validation/pt_201 --slices 130
    python bench/inference.py --random 48 --members 1 --cold --slices 130        1 x 1 x 3 mm, crop of 256 x 256
    python bench/inference.py --rounds 5 --log rounds.jsonl       interrupted, the same command goes on where it was

Every way runs once per round, in turn, and the medians over the rounds are compared as ratios, since a machine's speed
drifts. The others: sliding windows for every member, the bundle's weighted mean of the softmax, trilinear interpolation
of all classes to the CT's grid, argmax; no uncertainty. The matmul peak is measured in the same run.
"""

import argparse
import hashlib
import os
import platform
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from rounds import Round, Rounds
from safetensors.torch import save_file

from rtseg_daemon.anatomy.sides import mirrored_channels
from rtseg_daemon.anatomy.volume import Array, Grid, Shape, Volume
from rtseg_daemon.bundles import Bundle, MemberFile, OrganClass, installed_models, load_bundle
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.demo.phantom import make_phantom
from rtseg_daemon.networks import build
from rtseg_daemon.segment.engines.openvino_engine import cpu_multiplies
from rtseg_daemon.segment.engines.torch_engine import load_member
from rtseg_daemon.segment.ensemble import class_weights
from rtseg_daemon.segment.infer import blended_tiles, network_input, plan_windows, window_for, windows_of
from rtseg_daemon.segment.pipeline import Segmenter, to_network_grid
from rtseg_daemon.segment.resample import interpolate

Masks = dict[str, Array]
Predict = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]
Way = Callable[[], tuple[Masks, dict[str, float]]]


def load_case(folder: Path | None, matrix: int, slices: int) -> Volume:
    """The phantom, or a case folder with ct.nii.gz: `matrix` x `matrix` pixels, `slices` slices (0: those it has)."""
    coarse = make_phantom(1, matrix)[0] if folder is None else read_nifti(folder / "ct.nii.gz")
    wanted = (slices or coarse.shape[0], matrix, matrix)
    if coarse.shape == wanted:
        return coarse
    step = [s * n / m for s, n, m in zip(coarse.spacing_mm, coarse.shape, wanted, strict=True)]
    first = [o + (b - a) / 2 for o, a, b in zip(coarse.origin_mm, coarse.spacing_mm, step, strict=True)]
    grid = Grid(wanted, (step[0], step[1], step[2]), (first[0], first[1], first[2]))
    fine = interpolate(coarse, grid)
    return fine.with_array(fine.array.astype(np.int16))


def read_nifti(path: Path) -> Volume:
    """A CT as NIfTI, turned to patient axes."""
    import SimpleITK as sitk

    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    z, y, x = image.GetSpacing()[::-1]
    oz, oy, ox = image.GetOrigin()[::-1]
    return Volume(sitk.GetArrayFromImage(image), (z, y, x), (oz, oy, ox))


def random_bundle(folder: Path, width: int, members: int, like: Bundle | None) -> Bundle:
    """SepNets of `width` with random weights, eight organs: no skill.

    On the grid of the bundle `like`; without one at 1 x 1 x 3 mm in a crop of 256 x 256 and windows of 64 x 128 x 128.
    """
    entries = []
    for index in range(members):
        torch.manual_seed(index)
        path = folder / f"member{index}.safetensors"
        save_file(build("sepnet", classes=9, width=width).state_dict(), str(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries.append(MemberFile(name=path.stem, file=path.name, sha256=digest, intensity=f"SLF{index % 3 + 1}"))
    bundle = Bundle(
        format=1,
        name="random",
        version="0",
        intended_use="research",
        description="random weights for a benchmark",
        family="sepnet",
        arguments={"width": width},
        classes=[OrganClass(name=f"Organ{k}", weights=[1.0] * members) for k in range(8)],
        members=entries,
        spacing_mm=like.spacing_mm if like else (3.0, 1.0, 1.0),
        window=like.window if like else (64, 128, 128),
        window_step=like.window_step if like else None,
        extent_mm=like.extent_mm if like else (1000.0, 256.0, 256.0),
        in_plane=like.in_plane if like else "average",
    )
    bundle._folder = folder
    return bundle


def ours(segmenter: Segmenter, ct: Volume) -> tuple[Masks, dict[str, float]]:
    """This engine, uncertainty included."""
    result = segmenter.segment_volume(ct)
    masks = {}
    for organ in result.organs:
        mask = np.zeros(ct.shape, bool)
        if organ.box is not None:
            mask[organ.box.slices] = organ.mask
        masks[organ.name] = mask
    seconds = result.seconds
    return masks, {"network": seconds["infer"], "around": sum(seconds.values()) - seconds["infer"]}


def others(predict: Predict, bundle: Bundle, nets: list[torch.nn.Module], ct: Volume) -> tuple[Masks, dict[str, float]]:
    """The usual way: one float32 pass per member, mean, every class up-sampled, argmax."""
    began = time.perf_counter()
    network = to_network_grid(ct, bundle)
    prepared = time.perf_counter()
    weights = torch.from_numpy(class_weights([c.weights for c in bundle.classes], len(nets)))
    scales = torch.tensor([1.0, *(c.scale for c in bundle.classes)])
    total = torch.zeros(1, len(scales), *network.shape)
    with torch.inference_mode():
        for index, (net, member) in enumerate(zip(nets, bundle.members, strict=True)):
            image = torch.from_numpy(network_input(network.array, member.intensity))[None, None]
            if member.mirror:
                logits = predict(net, image.flip(-1)).flip(-1)[:, mirrored_channels(bundle.class_names)]
            else:
                logits = predict(net, image)
            p = logits.float().softmax(1) * scales.view(1, -1, 1, 1, 1)
            total += p / p.sum(1, keepdim=True) * weights[index].view(1, -1, 1, 1, 1)
        passed = time.perf_counter()
        labels = upsampled_labels(total / total.sum(1, keepdim=True), network, ct)
    masks = {organ.name: labels == k for k, organ in enumerate(bundle.classes, 1)}
    done = time.perf_counter()
    return masks, {"network": passed - prepared, "around": done - passed + prepared - began}


def upsampled_labels(p: torch.Tensor, network: Volume, ct: Volume) -> Array:
    """Argmax on the CT's grid of all classes interpolated there, slab by slab to bound the memory."""
    axes = []
    for axis in range(3):
        mm = ct.origin_mm[axis] + ct.spacing_mm[axis] * np.arange(ct.shape[axis])
        index = (mm - network.origin_mm[axis]) / network.spacing_mm[axis]
        axes.append(torch.from_numpy(((2 * index + 1) / network.shape[axis] - 1).astype(np.float32)))
    out = np.zeros(ct.shape, np.uint8)
    background = torch.zeros_like(p)
    background[:, 0] = 1
    for z0 in range(0, ct.shape[0], 16):
        z, y, x = torch.meshgrid(axes[0][z0 : z0 + 16], axes[1], axes[2], indexing="ij")
        grid = torch.stack([x, y, z], dim=-1)[None]
        shifted = F.grid_sample(p - background, grid, align_corners=False, padding_mode="zeros")
        shifted[:, 0] += 1
        out[z0 : z0 + 16] = shifted.argmax(1)[0].numpy()
    return out


def plain_torch(bundle: Bundle, autocast: bool) -> Predict:
    """Windows of this engine's own plan, uniform weights, no library."""

    def predict(net: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
        window = window_for((image.shape[2], image.shape[3], image.shape[4]), bundle.window, bundle.window_step)
        pad = [max(0, w - n) for w, n in zip(window, image.shape[2:], strict=True)]
        image = F.pad(image, (0, pad[2], 0, pad[1], 0, pad[0]))
        total = torch.zeros(1, len(bundle.classes) + 1, *image.shape[2:])
        count = torch.zeros(image.shape[2:])
        shape = (image.shape[2], image.shape[3], image.shape[4])
        for corner in plan_windows(shape, window, bundle.overlap):
            inside = tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                total[(slice(None), slice(None), *inside)] += net(image[(slice(None), slice(None), *inside)]).float()
            count[inside] += 1
        z, y, x = (n - p for n, p in zip(image.shape[2:], pad, strict=True))
        return (total / count)[:, :, :z, :y, :x]

    return predict


def monai_windows(bundle: Bundle) -> Predict:
    """MONAI's sliding_window_inference, overlap 0.25, Gaussian weights."""
    from monai.inferers import sliding_window_inference

    return lambda net, image: sliding_window_inference(
        image, bundle.window, 1, net, overlap=bundle.overlap, mode="gaussian"
    )


def nnunet_windows(bundle: Bundle, mirror: bool) -> Predict:
    """nnU-Net's predictor with its defaults (step 0.5, Gaussian), mirroring off or on all axes."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.configuration_manager = SimpleNamespace(patch_size=bundle.window)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=len(bundle.classes) + 1)
    predictor.allowed_mirroring_axes = (0, 1, 2)

    def predict(net: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
        predictor.network = net
        return predictor.predict_sliding_window_return_logits(image[0])[None]

    return predict


def matmul_peak(dtype: torch.dtype) -> float:
    """GFLOP/s of a 2048 x 2048 product, best of ten."""
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    best = 1e9
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best / 1e9


def window_gflop(net: torch.nn.Module, window: Shape) -> float:
    """GFLOP of the convolutions in one window (a product and a sum are two)."""
    total = 0

    def count(module: torch.nn.Conv3d, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * module.weight.numel() * output[0, 0].numel()

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, torch.nn.Conv3d)]
    with torch.inference_mode():
        net(torch.zeros(1, 1, *window))
    for hook in hooks:
        hook.remove()
    return total / 1e9


def planned(bundle: Bundle, ct: Volume) -> tuple[Shape, int]:
    """The window that this engine takes for `ct`, and how many of them."""
    shape = to_network_grid(ct, bundle).shape
    window = window_for(shape, bundle.window, bundle.window_step)
    return window, len(plan_windows(shape, window, bundle.overlap))


def dice(a: Masks, b: Masks) -> float:
    """The smallest Dice of any organ between two results; organs that neither finds do not count."""
    scores = [2 * int((a[n] & b[n]).sum()) / (int(a[n].sum()) + int(b[n].sum())) for n in a if (a[n] | b[n]).any()]
    return min(scores, default=1.0)


def ways(bundle: Bundle, segmenter: Segmenter, ct: Volume) -> dict[str, Way]:
    """Every way that can run here, by the name it has in the table."""
    nets = [load_member(bundle, i) for i in range(len(bundle.members))]
    table: dict[str, Way] = {f"this engine ({segmenter.engine.description})": lambda: ours(segmenter, ct)}

    def add(name: str, make: Callable[[], Predict]) -> None:
        try:
            predict = make()
        except ImportError as error:
            print(f"left out: {name} ({error})", file=sys.stderr)
            return
        table[name] = lambda: others(predict, bundle, nets, ct)

    add("plain torch fp32", lambda: plain_torch(bundle, False))
    if cpu_multiplies("bf16"):
        add("plain torch bf16 autocast", lambda: plain_torch(bundle, True))
    add("MONAI sliding_window_inference fp32", lambda: monai_windows(bundle))
    add("nnU-Net predictor fp32, no mirroring", lambda: nnunet_windows(bundle, False))
    add("nnU-Net predictor fp32, all mirrorings", lambda: nnunet_windows(bundle, True))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="han-oar")
    parser.add_argument("--models", type=Path, default=installed_models())
    parser.add_argument("--case", type=Path, help="a folder with ct.nii.gz; default: the phantom")
    parser.add_argument("--matrix", type=int, default=512)
    parser.add_argument("--slices", type=int, default=0, help="slices of the CT; default: those it has")
    parser.add_argument("--random", type=int, default=0, metavar="WIDTH", help="random weights at 1 x 1 x 3 mm instead")
    parser.add_argument("--members", type=int, default=6, help="with --random")
    parser.add_argument("--coarse", action="store_true", help="with --random: on the bundle's grid")
    parser.add_argument("--cache", type=Path, help="folder for compiled models")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="no round to warm up, where one takes minutes")
    parser.add_argument("--log", type=Path, help="keep every finished round in this file, and go on from those there")
    parser.add_argument("--only", default="", help="only ways whose name holds one of these, separated by commas")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    shipped = load_bundle(options.models, options.bundle)
    if not options.random:
        compare(shipped, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        like = shipped if options.coarse else None
        compare(random_bundle(Path(folder), options.random, options.members, like), options)


def compare(bundle: Bundle, options: argparse.Namespace) -> None:
    """The rounds of all ways that are missing, and the table of all."""
    ct = load_case(options.case, options.matrix, options.slices)
    segmenter = Segmenter.load(bundle, Compute(device="cpu"), options.cache)
    wanted = options.only.split(",")
    table = {
        name: way
        for name, way in ways(bundle, segmenter, ct).items()
        if name.startswith("this") or any(word in name for word in wanted)
    }
    window, windows = planned(bundle, ct)
    work = window_gflop(load_member(bundle, 0), window) * windows * len(bundle.members)
    about = {
        "case": options.case.name if options.case else "phantom",
        "ct": [*ct.shape],
        "bundle": bundle.label,
        "arguments": bundle.arguments,
        "members": len(bundle.members),
        "windows": [windows, *window],
        "ways": [*table],
        "torch": torch.__version__,
        "machine": machine(),
    }
    rounds = Rounds(options.log, about)
    if not options.cold and len(rounds.done) < options.rounds:
        one_round(0, table, segmenter, ct)
    for number in range(len(rounds.done) + 1, options.rounds + 1):
        rounds.add(one_round(number, table, segmenter, ct))
    print(f"\nCT {ct.shape[2]} x {ct.shape[1]} x {ct.shape[0]}, bundle {bundle.label}, {len(bundle.members)} members, ")
    print(f"{windows} windows of {window} each, {work:.0f} GFLOP; MONAI and nnU-Net have windows of {bundle.window};")
    rounds.print_table(reference([*table]))
    load = " ".join(f"{n:.1f}" for n in os.getloadavg())
    print(
        f"\nload averages at the end: {load}; on a busy machine compare processor seconds (all threads of the process)"
    )
    rounds.print_peak(work, str(own_precision(segmenter)).removeprefix("torch."))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of this process {memory:.1f} GB (all ways)")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {about['machine']}")


def reference(names: list[str]) -> str:
    """The way whose masks the others are compared with."""
    return "plain torch fp32" if "plain torch fp32" in names else names[0]


def one_round(number: int, table: dict[str, Way], segmenter: Segmenter, ct: Volume) -> Round:
    """Every way once, in turn."""
    done, masks = Round(), dict[str, Masks]()
    for name, way in table.items():
        began = time.process_time()
        masks[name], parts = way()
        done.ways[name] = {**parts, "processor": time.process_time() - began}
        print(f"round {number} {name}: {done.ways[name]}", file=sys.stderr, flush=True)
    for name in table:
        done.ways[name]["dice"] = dice(masks[name], masks[reference([*table])])
    done.forward = forward_seconds(segmenter, ct)
    done.peak, done.peak_float32 = matmul_peak(own_precision(segmenter)), matmul_peak(torch.float32)
    return done


def own_precision(segmenter: Segmenter) -> torch.dtype:
    """What this engine multiplies in."""
    return torch.bfloat16 if "bf16" in segmenter.engine.description else torch.float32


def machine() -> str:
    """The processor by its name in the kernel, or its architecture where the kernel names none."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def forward_seconds(segmenter: Segmenter, ct: Volume) -> float:
    """Seconds of the members alone: all windows through the engine, nothing done with the answers."""
    hu = to_network_grid(ct, segmenter.bundle).array
    z, y, x = hu.shape
    work = list(windows_of(segmenter.bundle, hu, blended_tiles((z, y, x), segmenter.bundle)))
    began = time.perf_counter()
    for _ in segmenter.engine.run(work):
        pass
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
