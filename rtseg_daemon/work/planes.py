"""Planes of a CT drawn with matplotlib: pixels in their window, contours, letters for the directions."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Array, Grid, Volume
from rtseg_daemon.segment.resample import interpolate, part_of
from rtseg_daemon.work.cuts import AXIAL, IN_PLANE, LETTERS, Cut, level_in, shown_box

SOFT_HU = (-160.0, 240.0)
"""Soft tissue window: level 40, width 400."""

BONE_HU = (-400.0, 1200.0)
"""Bone window: level 400, width 1600."""

EDGED = [withStroke(linewidth=2, foreground="black")]

EDGES = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.98, "center", "top"),
    (0.5, 0.02, "center", "bottom"),
)
"""Where the letters of LETTERS stand: shares of the picture, and how the letter lies there."""

BONE_FROM_HU = 250.0
"""An organ whose median lies above this is looked at in the bone window."""


def window_of(organ: Organ, ct: Volume) -> tuple[float, float]:
    """The window (HU) in which an organ is looked at."""
    if organ.box is None or organ.mask is None or not organ.mask.any():
        return SOFT_HU
    return BONE_HU if np.median(ct.array[organ.box.slices][organ.mask]) > BONE_FROM_HU else SOFT_HU


def show_pixels(axes: Axes, ct: Volume, cut: Cut, window: tuple[float, float]) -> None:
    """The CT's pixels, in mm from its outer corner. What lies beside the CT stays black."""
    axes.set_axis_off()
    box = shown_box(cut, ct.shape, ct.spacing_mm)
    plane = np.take(ct.array[box.slices], 0, cut.axis)
    if plane.size:
        extent = extent_mm(box.start, box.stop, cut, ct)
        low, high = window
        axes.imshow(plane, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
    frame(axes, cut)


def extent_mm(
    start: tuple[int, int, int], stop: tuple[int, int, int], cut: Cut, ct: Volume
) -> tuple[float, float, float, float]:
    """Left, right, and where the last and the first row lie: matplotlib puts the first row to the fourth value."""
    down, along = IN_PLANE[cut.axis]
    s = ct.spacing_mm
    return start[along] * s[along], stop[along] * s[along], stop[down] * s[down], start[down] * s[down]


def frame(axes: Axes, cut: Cut) -> None:
    """The square that the cut shows, as one looks at a patient: axial from the feet, else the head up."""
    half = cut.side_mm / 2
    down, along = cut.centre_mm
    axes.set_xlim(along - half, along + half)
    axes.set_ylim(*((down + half, down - half) if cut.axis == AXIAL else (down - half, down + half)))
    axes.set_aspect("equal")


def show_doubt(axes: Axes, entropy: Volume, ct: Volume, cut: Cut, level: float) -> None:
    """Where the vote entropy (nats) reaches `level`, a veil of magenta."""
    box = shown_box(cut, ct.shape, ct.spacing_mm)
    if 0 in box.shape:
        return
    grid = part_of(Grid(ct.shape, ct.spacing_mm, ct.origin_mm), box)
    plane = np.take(interpolate(entropy, grid, 0.0).array, 0, cut.axis)
    veil = np.zeros((*plane.shape, 4), np.float32)
    veil[plane >= level] = (1.0, 0.0, 0.75, 0.4)
    axes.imshow(veil, extent=extent_mm(box.start, box.stop, cut, ct), interpolation="nearest")
    frame(axes, cut)


def show_contour(
    axes: Axes, organ: Organ, cut: Cut, ct: Volume, colour: tuple[float, float, float], width: float, dashed: bool
) -> None:
    """The organ's outline in the cut, where it meets it: the zero level of its margin, as in the structure set."""
    found = level_in(organ, cut)
    if found is None:
        return
    level, box = found
    down, along = IN_PLANE[cut.axis]
    axes.contour(
        middles(box.start[along], level.shape[1], ct.spacing_mm[along]),
        middles(box.start[down], level.shape[0], ct.spacing_mm[down]),
        level,
        levels=[0.0],
        colors=[colour],
        linewidths=width,
        linestyles="dashed" if dashed else "solid",
    )


def middles(start: int, count: int, spacing_mm: float) -> Array:
    """Where `count` voxel centres lie, the first of them one before `start`, in mm from the CT's outer corner."""
    return (start - 0.5 + np.arange(count)) * spacing_mm


def show_letters(axes: Axes, axis: int) -> None:
    """R, L, A, P, S, I at the edges of a plane across `axis`."""
    for letter, (x, y, across, up) in zip(LETTERS[axis], EDGES, strict=True):
        mark(axes, x, y, letter, ha=across, va=up, color="#ffe9a8", fontsize=8.5, weight="bold")


def mark(axes: Axes, x: float, y: float, words: str, **style: Any) -> None:
    """Words over pixels, dark around so that they can be read on bone too. Places are shares of the picture."""
    axes.text(x, y, words, transform=axes.transAxes, path_effects=EDGED, **style)
