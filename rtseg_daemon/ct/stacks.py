"""Several acquisitions in one series: whole stacks of slices, of which one becomes the volume, never a mixture.

A scan in several parts (head, then neck) is one stack as long as no part reaches into another. Where parts overlap,
each is a pass of its own over the patient.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rtseg_daemon.ct.headers import SliceHeader

SAME_PLACE_MM = 0.01
"""Slices closer than this stand at one position."""

FEWEST_OF_A_PASS = 3
"""Fewer slices among others, at positions of their own, are no pass: each slice may state a time of its own."""

Key = Callable[[SliceHeader], Any]


def z_of(header: SliceHeader) -> float:
    """Patient z of a slice, or 0 where it does not say."""
    return header.position_mm[2] if header.position_mm else 0.0


def stacks(headers: Iterable[SliceHeader]) -> list[list[SliceHeader]]:
    """The slices by pass over the patient, the largest first, equal ones in the order of their acquisition.

    Passes are told apart by phase, AcquisitionNumber and time of acquisition, and by kernel where slices stand at one
    position. Where several of a pass still do, they are single images that came twice.
    """
    passes = [list(headers)]
    for key in (_phase_and_number, _kernel, _time):
        passes = [part for one in passes for part in separated(one, key)]
    return sorted(passes, key=lambda part: -len(positions(part)))


def chosen_stack(headers: Iterable[SliceHeader]) -> list[SliceHeader]:
    """The slices of the largest stack, the one that becomes the volume."""
    found = stacks(headers)
    return found[0] if found else []


def separated(headers: Sequence[SliceHeader], key: Key) -> list[list[SliceHeader]]:
    """The slices in groups of one key, in its order.

    A group joins the one before unless they overlap and it is another pass.
    """
    groups: dict[Any, list[SliceHeader]] = {}
    for header in sorted(headers, key=key):
        groups.setdefault(key(header), []).append(header)
    passes: list[list[SliceHeader]] = []
    low = high = 0.0
    for group in groups.values():
        z = [z_of(header) for header in group]
        overlap = low <= max(z) + SAME_PLACE_MM and min(z) <= high + SAME_PLACE_MM
        if passes and not (overlap and another_pass(passes[-1], group)):
            passes[-1] += group
            low, high = min(low, *z), max(high, *z)
        else:
            passes.append(list(group))
            low, high = min(z), max(z)
    return passes


def another_pass(one: Sequence[SliceHeader], other: Sequence[SliceHeader]) -> bool:
    """Whether two groups that overlap are more than a few slices at positions of their own."""
    return min(len(one), len(other)) >= FEWEST_OF_A_PASS or doubled([*one, *other])


def doubled(headers: Sequence[SliceHeader]) -> bool:
    """Whether several slices stand at one position."""
    return len(positions(headers)) < len(headers)


def positions(headers: Iterable[SliceHeader]) -> list[float]:
    """The positions (z in mm) at which slices stand, each once, inferior to superior."""
    kept: list[float] = []
    for z in sorted(map(z_of, headers)):
        if not kept or z - kept[-1] > SAME_PLACE_MM:
            kept.append(z)
    return kept


def _phase_and_number(header: SliceHeader) -> tuple[int, int]:
    return _number(header.temporal_position), _number(header.acquisition_number)


def _kernel(header: SliceHeader) -> str:
    return header.kernel


def _time(header: SliceHeader) -> str:
    return header.acquired


def _number(value: int | None) -> int:
    return -1 if value is None else value
