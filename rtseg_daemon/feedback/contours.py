"""Contours of a structure set on the grid of the CT that they were drawn on, and whether they fit it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.ct.geometry import Geometry
from rtseg_daemon.feedback.untouched import Slices, by_slice
from rtseg_daemon.rtstruct.raster import rasterised
from rtseg_daemon.rtstruct.reading import Structure

MOST_OFF = 0.1
"""Share of an ROI's contours that may lie off the slices, or be left out. With more it is no contour of this CT."""


@dataclass(frozen=True)
class Drawn:
    """One ROI on the grid.

    Args:
        mask: `(z, y, x)` bool.
        slices: its outlines by slice.
        notes: what was odd about it.
        misfit: why it is no contour of this CT, empty if it is.
    """

    mask: Array
    slices: Slices
    notes: tuple[str, ...] = ()
    misfit: str = ""


def drawn_on(geometry: Geometry, structure: Structure, referring: bool) -> Drawn:
    """An ROI on a CT's grid.

    `referring`: whether the set refers to images of this CT at all. Then a contour that refers to others alone is left
    out. Of a set whose references lead nowhere, the places of the contours are all there is.
    """
    images = {uid: k for k, uid in enumerate(geometry.sop_instance_uids)}
    own = structure.on(images.keys()) if referring else structure
    stated = [only(images[uid] for uid in uids if uid in images) for uids in own.drawn_on]
    volume = geometry.volume()
    raster = rasterised(own.contours, volume, geometry.slice_z_mm, stated)
    foreign = len(structure.contours) - len(own.contours)
    notes = [text for text in (structure.partly, *raster.oddities(len(own.contours))) if text]
    if foreign:
        notes.append(f"{foreign} of {len(structure.contours)} contours were drawn on images of another series")
    off = foreign + raster.lost + raster.moved + raster.oblique + structure.oblique
    misfit = ""
    if structure.frame_uid and geometry.frame_uid and structure.frame_uid != geometry.frame_uid:
        misfit = "it lies in another frame of reference than the CT"
    elif off > MOST_OFF * (len(structure.contours) + structure.oblique):
        misfit = "its contours do not lie on the slices of the CT"
    slices = by_slice(own.contours, geometry.slice_z_mm, volume.spacing_mm[0])
    return Drawn(raster.mask, slices, tuple(notes), misfit)


def only(numbers: Iterable[int]) -> int | None:
    """The number, if there is exactly one."""
    found = set(numbers)
    return found.pop() if len(found) == 1 else None
