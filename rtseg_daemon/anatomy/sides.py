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
