"""A picture of a result: contours above, where the members disagree below, in three planes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rtseg_daemon.anatomy.volume import Array, Box, Volume, bounding_box
from rtseg_daemon.work.cuts import NAMES
from rtseg_daemon.work.planes import SOFT_HU, show_letters


@dataclass(frozen=True)
class Outline:
    """One organ for the picture: mask `(z, y, x)` on the CT's grid, RGB 0 to 255, and its flag."""

    name: str
    mask: Array
    colour: tuple[int, int, int]
    flag: str


def busiest(masks: list[Array], axis: int) -> int:
    """The plane along `axis` that shows the most organs, and of those the one with the largest areas."""
    others = tuple(a for a in range(3) if a != axis)
    areas = np.array([m.sum(axis=others) for m in masks])
    score = (areas > 0).sum(axis=0) + areas.sum(axis=0) / (areas.sum() + 1.0)
    return int(score.argmax())


def plane(array: Array, axis: int, index: int) -> Array:
    """One plane as one looks at it: axial from below, coronal and sagittal with the head up."""
    cut = np.take(array, index, axis)
    return np.asarray(cut if axis == 0 else cut[::-1])


def focus(ct: Volume, masks: list[Array], margin_mm: float = 45.0) -> Box:
    """The part of the CT worth looking at: all organs and `margin_mm` around them, or all if there are none."""
    box = bounding_box(np.logical_or.reduce(masks)) if masks else None
    if box is None:
        return Box((0, 0, 0), ct.shape)
    margin = [round(margin_mm / s) for s in ct.spacing_mm]
    start = [max(0, a - m) for a, m in zip(box.start, margin, strict=True)]
    stop = [min(n, b + m) for b, m, n in zip(box.stop, margin, ct.shape, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def draw(ct: Volume, outlines: list[Outline], doubt: Array | None, path: Path, title: str) -> None:
    """Write a PNG with axial, coronal and sagittal views.

    Args:
        doubt: entropy in nats `(z, y, x)` on the CT's grid, or None where there is none. Then one row is drawn.
    """
    part = focus(ct, [o.mask for o in outlines])
    dz, dy, dx = ct.spacing_mm
    aspects = (dy / dx, dz / dx, dz / dy)
    hu = ct.array[part.slices]
    masks = [o.mask[part.slices] for o in outlines]
    cuts = [busiest(masks or [hu > SOFT_HU[0]], axis) for axis in range(3)]
    rows = 1 if doubt is None else 2
    figure = Figure(figsize=(15, 5.2 * rows + 0.6), facecolor="black", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 3, squeeze=False)
    for axis, (name, cut) in enumerate(zip(NAMES, cuts, strict=True)):
        axes[0][axis].set_title(f"{name} {part.start[axis] + cut + 1}", color="white")
        for row in range(rows):
            view = axes[row][axis]
            view.set_axis_off()
            low, high = SOFT_HU
            view.imshow(plane(hu, axis, cut), cmap="gray", vmin=low, vmax=high, aspect=aspects[axis])
            show_letters(view, axis)
            if row == 1 and doubt is not None:
                heat = np.ma.masked_less(plane(doubt[part.slices], axis, cut), 0.05)
                view.imshow(heat, cmap="inferno", vmin=0, vmax=1.1, alpha=0.8, aspect=aspects[axis])
            for outline, mask in zip(outlines, masks, strict=True):
                cross = plane(mask, axis, cut)
                if cross.any():
                    view.contour(cross, levels=[0.5], colors=[[c / 255 for c in outline.colour]], linewidths=1.3)
    if doubt is not None:
        axes[1][0].set_title("vote entropy of the members", color="white")
    for outline in outlines:
        axes[0][0].plot([], [], color=[c / 255 for c in outline.colour], label=f"{outline.name} {outline.flag}")
    if outlines:
        axes[0][0].legend(loc="lower left", fontsize=8, facecolor="black", labelcolor="white", framealpha=0.6)
    figure.suptitle(title, color="white")
    figure.savefig(path, dpi=90)
