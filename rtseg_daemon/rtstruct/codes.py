"""What is known of an organ by its TG-263 name: codes, side, colour, interpreted type.

Names: AAPM TG-263 (Mayo et al., IJROBP 100:1057, 2018). SNOMED CT codes as in the context groups of PS3.16 (CID 4,
4028, 7151, 8134). FMA codes (Foundational Model of Anatomy) as in the column FMAID of TG-263's own worksheet of
2017-08-15, where paired organs have one code per side. It has no halves of the mandible: these have the code of the
whole bone. Every side stands in the laterality modifier too (CID 244).
"""

import colorsys
import zlib
from dataclasses import dataclass, replace
from typing import Literal

from rtseg_daemon.bundles import Bundle

Code = tuple[str, str]
Colour = tuple[int, int, int]
Side = Literal["left", "right", "none"]

LATERALITY: dict[Side, Code] = {"left": ("7771000", "Left"), "right": ("24028007", "Right")}
"""SNOMED CT, PS3.16 CID 244."""


@dataclass(frozen=True)
class Anatomy:
    """Code and meaning in SNOMED CT and FMA, RGB, RTROIInterpretedType, and the side that the codes are of."""

    snomed: Code | None
    fma: Code | None
    colour: Colour
    interpreted_type: str = "ORGAN"
    side: Side = "none"


def _both(
    name: str, organ: Anatomy, fma: tuple[Code, Code] | None = None, right: Colour | None = None
) -> dict[str, Anatomy]:
    """Entries of a paired organ, left and right. The right one is drawn a little darker, or in a colour of its own."""
    dark = (organ.colour[0] * 4 // 5, organ.colour[1] * 4 // 5, organ.colour[2] * 4 // 5)
    codes = fma or (organ.fma, organ.fma)
    return {
        f"{name}_L": replace(organ, side="left", fma=codes[0]),
        f"{name}_R": replace(organ, side="right", fma=codes[1], colour=right or dark),
    }


MANDIBLE = Anatomy(("91609006", "Mandible"), ("52748", "Mandible"), (222, 184, 135))
SUBMANDIBULAR = Anatomy(("54019009", "Submandibular gland"), None, (135, 206, 250))

ANATOMY: dict[str, Anatomy] = {
    **_both(
        "Eye",
        Anatomy(("81745001", "Eye"), None, (0, 191, 255)),
        (("12515", "Left eyeball"), ("12514", "Right eyeball")),
    ),
    **_both(
        "Lens",
        Anatomy(("78076003", "Lens"), None, (255, 255, 0)),
        (("58243", "Left lens"), ("58242", "Right lens")),
    ),
    **_both(
        "OpticNrv",
        Anatomy(("18234004", "Optic nerve"), None, (255, 165, 0)),
        (("50878", "Left optic nerve"), ("50875", "Right optic nerve")),
    ),
    "OpticChiasm": Anatomy(("244453006", "Optic chiasm"), ("62045", "Optic chiasm"), (255, 99, 71)),
    "Pituitary": Anatomy(("56329008", "Pituitary"), ("13889", "Pituitary gland"), (255, 105, 180)),
    "Brainstem": Anatomy(("119238007", "Brain stem"), ("79876", "Brainstem"), (160, 32, 240)),
    "Brain": Anatomy(("12738006", "Brain"), ("50801", "Brain"), (255, 182, 193)),
    **_both(
        "Lobe_Temporal",
        Anatomy(("78277001", "Temporal lobe"), None, (186, 85, 211)),
        (("72972", "Left temporal lobe"), ("72971", "Right temporal lobe")),
    ),
    "SpinalCord": Anatomy(("2748008", "Spinal cord"), ("7647", "Spinal cord"), (0, 255, 0)),
    **_both(
        "Parotid",
        Anatomy(("45289007", "Parotid gland"), None, (64, 224, 208)),
        (("59798", "Left parotid gland"), ("59797", "Right parotid gland")),
        right=(219, 112, 147),
    ),
    **_both(
        "Ear_Internal",
        Anatomy(("22945000", "Inner ear"), None, (218, 112, 214)),
        (("61021", "Left internal ear"), ("61020", "Right internal ear")),
    ),
    **_both(
        "Ear_Middle",
        Anatomy(("25342003", "Middle ear"), None, (238, 130, 238)),
        (("56515", "Left middle ear"), ("56514", "Right middle ear")),
    ),
    **_both(
        "Joint_TM",
        Anatomy(("53620006", "Temporomandibular joint"), None, (240, 230, 140)),
        (("54834", "Left temporomandibular joint"), ("54833", "Right temporomandibular joint")),
    ),
    "Bone_Mandible": MANDIBLE,
    **_both("Bone_Mandible", MANDIBLE),
    **_both("Mandible", MANDIBLE),
    "Esophagus": Anatomy(("32849002", "Esophagus"), ("7131", "Esophagus"), (205, 133, 63)),
    "Larynx": Anatomy(("4596009", "Larynx"), ("55097", "Larynx"), (100, 149, 237)),
    **_both(
        "Glnd_Submand",
        SUBMANDIBULAR,
        (("59803", "Left submandibular gland"), ("59802", "Right submandibular gland")),
    ),
}
"""The 22 organs of StructSeg 2019, the 7 of OpenKBP and a few more that data sets bring along."""

TARGETS = {
    "GTV": Anatomy(None, None, (255, 0, 0), "GTV"),
    "CTV": Anatomy(None, None, (255, 69, 0), "CTV"),
    "PTV": Anatomy(None, None, (220, 20, 60), "PTV"),
}
"""By the first three letters of a TG-263 target name."""


RING = Anatomy(None, None, (255, 255, 255), "CONTROL")
"""Where members disagree: white, and no organ."""


def unknown(name: str) -> Anatomy:
    """No codes, and a bright colour that is the same for the same name."""
    hue = zlib.crc32(name.encode()) % 360 / 360.0
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.8, 1.0))
    return Anatomy(None, None, (red, green, blue))


def anatomy_of(name: str, bundle: Bundle | None = None) -> Anatomy:
    """What the bundle says of the organ, completed by what is known of its TG-263 name."""
    known = ANATOMY.get(name) or TARGETS.get(name[:3].upper()) or unknown(name)
    for organ in bundle.classes if bundle else ():
        if organ.name == name:
            return Anatomy(
                organ.snomed or known.snomed,
                organ.fma or known.fma,
                organ.colour,
                organ.interpreted_type,
                known.side if organ.side == "none" else organ.side,
            )
    return known
