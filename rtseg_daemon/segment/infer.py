"""A volume through the members of a bundle: in one piece where the bundle was validated so, else in its windows.

Instance norm sees the window, so the window is a part of the model: some weights lose a tenth of their Dice in another
than that of training. Windows overlap and are blended with Gaussian weights.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtseg_daemon.anatomy.arrays import Values, beside, class_groups, module_of
from rtseg_daemon.anatomy.sides import mirrored_channels
from rtseg_daemon.anatomy.volume import AIR_HU, Array, Shape
from rtseg_daemon.segment.engines.engine import InferenceEngine, Work
from rtseg_daemon.segment.intensity import intensity_knots, segmental_linear

if TYPE_CHECKING:  # a network can be timed without what bundles are read with
    from rtseg_daemon.bundles import Bundle

Beat = Callable[[], None]


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Even starts of windows along one axis that cover `length` and overlap by at least the share `overlap`.

    A shorter axis gets one window that reaches past both of its ends.
    """
    if length <= window:
        return [(length - window) // 2]
    count = 1 + math.ceil((length - window) / (window * (1 - overlap)))
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def plan_windows(shape: Shape, window: Shape, overlap: float) -> list[Shape]:
    """Corners (z, y, x) of every window of a volume of `shape`. A corner is negative where a window reaches out."""
    axes = [window_starts(n, w, overlap) for n, w in zip(shape, window, strict=True)]
    return [(z, y, x) for z, y, x in itertools.product(*axes)]


def gaussian_weights(window: Shape) -> Array:
    """Blending weights of a window: a Gaussian of 1/4 of each side, at least 1e-3, float32."""
    profile = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 4)) ** 2) for n in window]
    weights = profile[0][:, None, None] * profile[1][None, :, None] * profile[2][None, None, :]
    return np.asarray(np.maximum(weights, 1e-3), np.float32)


def padded_window(array: Values, corner: Shape, window: Shape, fill: float) -> Values:
    """The window at `corner`, `fill` where it reaches past the array."""
    out = module_of(array).full(window, fill, dtype=array.dtype, device=array.device)
    outer, inner = overlap_of(array.shape, corner, window)
    out[outer] = array[inner]
    return out


def overlap_of(shape: tuple[int, ...], corner: Shape, window: Shape) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where window and array meet, in the window's and in the array's indices."""
    spans = [(max(0, c), min(n, c + w)) for n, c, w in zip(shape, corner, window, strict=True)]
    outer = tuple(slice(a - c, b - c) for (a, b), c in zip(spans, corner, strict=True))
    return outer, tuple(slice(a, b) for a, b in spans)


def network_input(hu: Values, intensity: str) -> Values:
    """HU to what a member of this intensity transform was trained on, both float32. Each voxel by itself."""
    return segmental_linear(hu, *intensity_knots(intensity))


@dataclass(frozen=True)
class Tile:
    """One window: where it meets the volume (in the window's and in the volume's indices), and its blending share."""

    corner: Shape
    window: Shape
    outer: tuple[slice, ...]
    inner: tuple[slice, ...]
    share: Values


def window_for(shape: Shape, window: Shape, step: Shape | None) -> Shape:
    """The window in which a volume of `shape` runs: `window` itself, or grown in steps until it holds all of it."""
    if step is None:
        return window
    z, y, x = (w + math.ceil(max(0, n - w) / s) * s for n, w, s in zip(shape, window, step, strict=True))
    return z, y, x


def blended_tiles(hu: Values, bundle: "Bundle") -> list[Tile]:
    """The windows that cover a volume `hu` `(z, y, x)`. Over every voxel their shares sum to 1."""
    z, y, x = shape = hu.shape
    window = window_for((z, y, x), bundle.window, bundle.window_step)
    weights, norm, met = beside(gaussian_weights(window), hu), module_of(hu).zeros_like(hu), []
    for corner in plan_windows((z, y, x), window, bundle.overlap):
        outer, inner = overlap_of(shape, corner, window)
        norm[inner] += weights[outer]
        met.append((corner, outer, inner))
    return [Tile(corner, window, outer, inner, weights[outer] / norm[inner]) for corner, outer, inner in met]


def windows_of(bundle: "Bundle", hu: Values, tiles: list[Tile]) -> Iterator[Work]:
    """Every member's windows, member by member. Each intensity transform is computed once."""
    xp = module_of(hu)
    inputs: dict[str, Values] = {}
    for index, member in enumerate(bundle.members):
        if member.intensity not in inputs:
            inputs[member.intensity] = network_input(hu, member.intensity)
        air = float(network_input(np.array([AIR_HU], np.float32), member.intensity)[0])
        for tile in tiles:
            window = padded_window(inputs[member.intensity], tile.corner, tile.window, air)
            yield index, xp.flip(window, (2,)) if member.mirror else window


def turned_back(answer: Values, twins: list[int]) -> Values:
    """Probabilities `(classes, z, y, x)` of a mirrored window as those of the window, each side's organ its own."""
    return module_of(answer).flip(answer[twins], (3,))


def member_probabilities(engine: InferenceEngine, bundle: "Bundle", hu: Array, beat: Beat) -> Iterator[Values]:
    """Each member's class probabilities `(classes, z, y, x)` of `hu` `(z, y, x)`, one member at a time.

    They lie where the engine computes. The array that is yielded is used again for a later member. `beat` is called
    after every window.
    """
    there = engine.placed(np.asarray(hu, np.float32))
    tiles = blended_tiles(there, bundle)
    twins = mirrored_channels(bundle.class_names) if any(member.mirror for member in bundle.members) else []
    with closing(engine.run(windows_of(bundle, there, tiles))) as answers:
        if len(tiles) == 1:
            for member, answer in zip(bundle.members, answers, strict=True):
                beat()
                yield (turned_back(answer, twins) if member.mirror else answer)[(slice(None), *tiles[0].outer)]
            return
        total: Values = None
        for member in bundle.members:
            for number, (tile, answer) in enumerate(zip(tiles, answers, strict=False)):
                upright = turned_back(answer, twins) if member.mirror else answer
                if total is None:
                    total = module_of(upright).empty(
                        (len(upright), *hu.shape), dtype=upright.dtype, device=upright.device
                    )
                if number == 0:
                    total[:] = 0
                for summed, p in zip(class_groups(total), class_groups(upright), strict=True):
                    summed[(slice(None), *tile.inner)] += p[(slice(None), *tile.outer)] * tile.share
                beat()
            yield total
