"""What training knows about single organs: importance in the papers' weighted mean, and which side they lie on."""

from collections.abc import Mapping
from typing import Literal

IMPORTANCE: dict[str, float] = {
    "Eye_L": 100, "Eye_R": 100, "Lens_L": 50, "Lens_R": 50, "OpticNrv_L": 80, "OpticNrv_R": 80, "OpticChiasm": 50,
    "Pituitary": 80, "Brainstem": 100, "Lobe_Temporal_L": 80, "Lobe_Temporal_R": 80, "SpinalCord": 100,
    "Parotid_L": 50, "Parotid_R": 50, "Ear_Internal_L": 70, "Ear_Internal_R": 70, "Ear_Middle_L": 70,
    "Ear_Middle_R": 70, "Joint_TM_L": 60, "Joint_TM_R": 60, "Bone_Mandible": 100, "Mandible_L": 100,
    "Mandible_R": 100,
}  # fmt: skip
"""Importance of each organ in the challenge's weighted mean (seed 001, section on the test set), by TG-263 name."""

Side = Literal["left", "right", "none"]


def side_of(name: str) -> Side:
    """The side that a TG-263 name states."""
    return "left" if name.endswith("_L") else "right" if name.endswith("_R") else "none"


def weighted_mean(scores: Mapping[str, float]) -> float | None:
    """The papers' weighted mean over the organs they weigh, or None if there is none of them."""
    known = {name: IMPORTANCE[name] for name in scores if name in IMPORTANCE}
    if not known:
        return None
    return sum(scores[name] * weight for name, weight in known.items()) / sum(known.values())


RUNS_ON = {"SpinalCord": 25.0, "SpinalCanal": 25.0, "Esophagus": 60.0}
"""Organs that go on beyond the lower end of every head-and-neck scan, and how far above it in mm they may end all the
same. Clinics leave the esophagus sooner: in the 12 validation patients of OpenKBP with one by up to 60 mm."""

HARD = frozenset({"Larynx", "Esophagus"})
"""Large organs of which observers agree less on where they end."""


def acceptable_dice(name: str) -> float:
    """Dice below which a contour of this organ is drawn anew rather than corrected, unless a site says otherwise.

    0.6, and 0.5 for organs whose ends observers draw differently.
    """
    return 0.5 if name in HARD else 0.6
