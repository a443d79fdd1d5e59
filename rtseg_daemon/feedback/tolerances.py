"""How far two experts' contours of an organ lie apart: the tolerance of its surface Dice.

From Nikolov et al. (2021, JMIR 23:e26151): the 95th percentile of the distances between contours that experts drew of
the same organ.
"""

TOLERANCES_MM = {
    "Brain": 1.01,
    "Brainstem": 2.50,
    "Bone_Mandible": 1.01,
    "Cochlea_L": 1.25,
    "Cochlea_R": 1.25,
    "Eye_L": 1.65,
    "Eye_R": 1.65,
    "Glnd_Lacrimal_L": 2.50,
    "Glnd_Lacrimal_R": 2.50,
    "Glnd_Submand_L": 2.02,
    "Glnd_Submand_R": 2.02,
    "Lens_L": 0.98,
    "Lens_R": 0.98,
    "Lung_L": 2.42,
    "Lung_R": 2.42,
    "OpticNrv_L": 2.50,
    "OpticNrv_R": 2.50,
    "Parotid_L": 2.85,
    "Parotid_R": 2.85,
    "SpinalCanal": 1.17,
    "SpinalCord": 2.93,
}
"""TG-263 name -> mm."""

UNSTATED_MM = 3.0
"""Of an organ that is not in the list, as `rtseg-train evaluate` has it for all."""


def tolerance_mm(organ: str) -> float:
    """The tolerance of an organ by its TG-263 name."""
    return TOLERANCES_MM.get(organ, UNSTATED_MM)
