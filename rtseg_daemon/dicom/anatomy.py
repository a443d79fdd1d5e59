"""What is known of an organ by its TG-263 name: codes, colour, interpreted type.

Names: AAPM TG-263 (Mayo et al., IJROBP 100:1057, 2018). Codes: SNOMED CT as in PS3.16 CID 4, 4031 and 9501 where the
structure is listed there; FMA as in the TG-263 spreadsheet.
"""

from dataclasses import dataclass

from rtseg_daemon.bundles import Bundle

Code = tuple[str, str]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Anatomy:
    """Code and meaning in SNOMED CT and FMA, RGB, and RTROIInterpretedType."""

    snomed: Code | None
    fma: Code | None
    colour: Colour
    interpreted_type: str = "ORGAN"
    side: str = "none"


def _pair(
    name: str, snomed: tuple[Code, Code], fma: tuple[Code, Code], colours: tuple[Colour, Colour]
) -> dict[str, Anatomy]:
    sides = zip(("L", "R"), ("left", "right"), snomed, fma, colours, strict=True)
    return {f"{name}_{letter}": Anatomy(s, f, colour, side=side) for letter, side, s, f, colour in sides}


FALLBACK = Anatomy(None, None, (255, 255, 0), "ORGAN")

ANATOMY: dict[str, Anatomy] = {}


def anatomy_of(name: str, bundle: Bundle | None = None) -> Anatomy:
    """What the bundle says of the organ, completed by what is known of its TG-263 name."""
    known = ANATOMY.get(name, FALLBACK)
    for organ in bundle.classes if bundle else ():
        if organ.name == name:
            return Anatomy(
                organ.snomed or known.snomed, organ.fma or known.fma, organ.colour, organ.interpreted_type, organ.side
            )
    return known
