"""Checks on the voxels of a CT, before inference. Pure. HU `(z, y, x)`."""

from collections.abc import Iterable

import numpy as np

from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.gates.verdict import Finding, Verdict, verdict_of

AIR_AT_MOST_HU = -700.0


SOFT_TISSUE_HU = (-150.0, 200.0)


LARGEST_HU = 20_000.0


METAL_SHARE = 1e-3
"""Implants reach past LARGEST_HU in a few voxels of some scans. More than this share is no anatomy."""


def judge_volume(volume: Volume, padding: Array | None = None) -> Verdict:
    """Judge a loaded CT by its HU `(z, y, x)`: rescale that cannot be right, a body that the field of view cuts off.

    Voxels of `padding` say nothing of the rescale. They are air in the volume, whatever was stored there.
    """
    places = (slice(None, None, max(1, volume.shape[0] // 32)), slice(None, None, 4), slice(None, None, 4))
    sample = volume.array[places]
    scanned = sample if padding is None else sample[~padding[places]]
    return verdict_of([*implausible_hu(scanned), *cut_off(sample)])


def implausible_hu(hu: Array) -> Iterable[Finding]:
    """A CT holds air near -1000 HU and, between air and bone, soft tissue near 0, and next to nothing beyond."""
    if not hu.size:
        yield Finding("hold", "every pixel is padding; is Pixel Padding Value right?")
        return
    low, share = float(np.percentile(hu, 2)), float((hu > LARGEST_HU).mean())
    if low > AIR_AT_MOST_HU:
        yield Finding("hold", f"implausible HU: no air (2nd percentile is {low:.0f}); is the rescale right?")
    if share > METAL_SHARE:
        yield Finding("hold", f"implausible HU: {share:.1%} above {LARGEST_HU:.0f}; is the pixel encoding right?")
    inside = hu[(hu > -400) & (hu < 1000)]
    middle = float(np.median(inside)) if inside.size >= hu.size / 1000 else float("nan")
    if not SOFT_TISSUE_HU[0] <= middle <= SOFT_TISSUE_HU[1]:
        yield Finding("hold", f"implausible HU: soft tissue lies at {middle:.0f}; is the rescale right?")


def cut_off(hu: Array) -> Iterable[Finding]:
    """Tissue on the left or right border of the image in a quarter of the slices: the body leaves the field of view."""
    sides = np.concatenate([hu[:, :, :1], hu[:, :, -1:]], axis=2)
    touching = (sides > -350).mean(axis=(1, 2)) > 0.02
    if touching.mean() > 0.25:
        yield Finding("flag", "the field of view cuts the body off")
