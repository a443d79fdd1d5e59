"""Left and right: which class is the other side's, and what mirroring does to the channels."""

from collections.abc import Sequence


def twin_of(name: str) -> str:
    """The same organ on the other side (TG-263 ends sides in _L and _R), empty for an organ without a side."""
    swap = {"_L": "_R", "_R": "_L"}
    return name[:-2] + swap[name[-2:]] if name[-2:] in swap else ""


def one_sided(names: Sequence[str]) -> list[str]:
    """The names whose twin is not among them."""
    return [name for name in names if twin_of(name) and twin_of(name) not in names]


def mirrored_channels(names: Sequence[str]) -> list[int]:
    """For each class the channel of its twin, which must be there, or its own."""
    return [names.index(twin_of(name) or name) for name in names]


LEFT = frozenset((
    "l", "lt", "lft", "left", "li", "links", "linke", "linker", "linkes", "sin", "sinister", "sinistra", "sinistro",
    "sx", "gauche", "izq", "izquierda", "izquierdo", "esq", "esquerda", "esquerdo", "lewa", "lewy", "venstre",
    "vänster",
))  # fmt: skip
RIGHT = frozenset((
    "r", "rt", "rgt", "right", "re", "rechts", "rechte", "rechter", "rechtes", "dex", "dext", "dexter", "destra",
    "destro", "dx", "droite", "droit", "der", "derecha", "derecho", "dir", "direita", "direito", "prawa", "prawy",
    "høyre", "højre", "höger",
))  # fmt: skip
"""Words for a side in names of organs, in small letters."""

UNSURE_LEFT = frozenset(("g",))
UNSURE_RIGHT = frozenset(("d",))
"""Letters for a side (gauche, droite) that begin other words too, such as gland: they count where no other does."""


def sides_of(words: Sequence[str]) -> set[str]:
    """The sides that a name's words name, as TG-263 ends names: `_L`, `_R`, both or none."""
    sure = {"_L" for word in words if word in LEFT} | {"_R" for word in words if word in RIGHT}
    unsure = {"_L" for word in words if word in UNSURE_LEFT} | {"_R" for word in words if word in UNSURE_RIGHT}
    return sure or unsure
