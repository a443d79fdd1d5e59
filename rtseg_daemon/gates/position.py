"""PatientPosition against the direction cosines: which way of storing an image makes a position doubtful. Pure.

Cosines are in patient coordinates (PS3.3 C.7.6.2), and the position says how the patient lies in the gantry
(C.7.3.1.1.2). The standard binds neither to the other: a volume is right by its cosines alone. Scanners leave a trace
all the same. They store what one sees in the gantry, from its front or from its back. Columns run down to the table
either way, and rows run left or right. An image whose columns run elsewhere was turned, or its position was corrected
by hand and its cosines were not. Then left and right of every contour would be swapped, so a person looks.
"""

from collections.abc import Iterable, Sequence

import numpy as np

DOWN: dict[str, tuple[int, int, int]] = {
    "HFS": (0, 1, 0),
    "FFS": (0, 1, 0),
    "HFP": (0, -1, 0),
    "FFP": (0, -1, 0),
    "HFDR": (-1, 0, 0),
    "FFDR": (-1, 0, 0),
    "HFDL": (1, 0, 0),
    "FFDL": (1, 0, 0),
}
"""Which way is down for a patient in each position, in patient coordinates: supine to the back, right side to -x."""

TOWARDS = {
    (1, 0, 0): "left",
    (-1, 0, 0): "right",
    (0, 1, 0): "back",
    (0, -1, 0): "front",
    (0, 0, 1): "head",
    (0, 0, -1): "feet",
}
"""Directions of patient coordinates in words."""


def doubt(position: str, orientations: Iterable[Sequence[float] | None]) -> str:
    """Why images stored in these orientations make `position` doubtful, or nothing. Small tilts do not count.

    Images without an orientation, and positions that the standard does not define for CT on a flat table, say nothing.
    """
    down = DOWN.get(position)
    if down is None:
        return ""
    for cosines in orientations:
        if cosines is not None and float(np.dot(cosines[3:], down)) < 0.5:
            return (
                f"PatientPosition {position} contradicts ImageOrientationPatient: columns run to the patient's "
                f"{nearest(cosines[3:])}, down is the patient's {TOWARDS[down]}; were the images turned, or was the "
                "position corrected by hand?"
            )
    return ""


def nearest(direction: Sequence[float]) -> str:
    """The word for the axis that a direction is closest to."""
    return max(TOWARDS.items(), key=lambda known: float(np.dot(known[0], direction)))[1]
