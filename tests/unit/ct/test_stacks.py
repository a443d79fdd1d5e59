"""Of several acquisitions in one series a whole one is taken, or nobody may release it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rtseg_daemon.bundles import Limits
from rtseg_daemon.ct.headers import SliceHeader
from rtseg_daemon.ct.preconditions import RELEASABLE, check_series, sorted_positions
from rtseg_daemon.ct.stacks import stacks
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.gates.series import judge_series
from tests.unit.gates.test_gates import header

COUNT = 20


def stack(name: str, count: int = COUNT, start: float = 0.0, step: float = 3.0, **facts: Any) -> list[SliceHeader]:
    """Slices whose UIDs begin with `name`, from `start` upwards; InstanceNumber from 1."""
    return [
        replace(
            header(k + 1),
            path=Path(f"{name}{k}"),
            sop_instance_uid=f"{name}{k}",
            position_mm=(-250.0, -250.0, start + step * k),
            **facts,
        )
        for k in range(count)
    ]


def mixed(one: list[SliceHeader], other: list[SliceHeader]) -> list[SliceHeader]:
    """Both, in an order that says nothing."""
    return sorted([*one, *other], key=lambda h: h.sop_instance_uid[::-1])


def names(headers: list[SliceHeader]) -> set[str]:
    return {h.sop_instance_uid[0] for h in headers}


PASSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "acquisition number": ({"acquisition_number": 1}, {"acquisition_number": 2}),
    "time": ({"acquired": "20260115083000"}, {"acquired": "20260115083500"}),
    "kernel": ({"kernel": "Br38"}, {"kernel": "Br69"}),
    "phase": ({"temporal_position": 1}, {"temporal_position": 2}),
}


@pytest.mark.parametrize("start", [0.0, 1.0, 1.5, 30.0])
@pytest.mark.parametrize("case", PASSES)
def test_overlapping_passes_are_held_and_released_as_one_whole_stack(case: str, start: float) -> None:
    first, second = PASSES[case]
    both = mixed(stack("a", **first), stack("b", start=start, **second))
    verdict = judge_series(both, Limits())
    assert (verdict.verdict, verdict.releasable) == ("hold", True)
    assert verdict.reasons[0].startswith("2 overlapping acquisitions in one series (20, 20 images)")
    check_series(both, RELEASABLE)
    taken = sorted_positions(both)
    assert (len(taken), names(taken)) == (COUNT, {"a"})


def test_the_largest_pass_is_taken() -> None:
    both = mixed(stack("a", 5, acquisition_number=1), stack("b", 25, acquisition_number=2))
    assert names(sorted_positions(both)) == {"b"}


def test_passes_whose_slices_each_have_a_time_are_told_apart_by_its_order() -> None:
    one = [replace(h, acquired=f"0830{k:02}") for k, h in enumerate(stack("a"))]
    other = [replace(h, acquired=f"0835{k:02}") for k, h in enumerate(reversed(stack("b")))]
    assert [names(part) for part in stacks(mixed(one, other))] == [{"a"}, {"b"}]


def test_parts_of_one_scan_that_do_not_overlap_are_one_stack() -> None:
    parts = mixed(stack("a", 10, acquisition_number=1), stack("b", 10, start=30.0, acquisition_number=2))
    assert len(stacks(parts)) == 1
    assert judge_series(parts, Limits()).verdict == "pass"


def test_a_time_per_slice_makes_no_passes_whatever_its_order() -> None:
    times = ["083005", "083001", "083004", "083000", "083003"] * 4
    one = [replace(h, acquired=time) for h, time in zip(stack("a"), sorted(times), strict=True)]
    assert len(stacks(one)) == 1
    jumbled = [replace(h, acquired=f"08{(k * 7) % COUNT:02}") for k, h in enumerate(stack("a"))]
    assert len(stacks(jumbled)) == 1


def test_a_single_slice_of_another_acquisition_fills_its_gap() -> None:
    slices = stack("a", acquisition_number=1)
    slices[7] = replace(slices[7], acquisition_number=2)
    assert judge_series(slices, Limits()).verdict == "pass"


@pytest.mark.parametrize("case", ["the same numbers", "numbers backwards", "no numbers"])
def test_passes_that_nothing_tells_apart_cannot_be_released(case: str) -> None:
    one, other = stack("a"), stack("b")
    if case == "numbers backwards":
        other = [replace(h, instance_number=COUNT - k) for k, h in enumerate(other)]
    if case == "no numbers":
        one, other = ([replace(h, instance_number=None) for h in part] for part in (one, other))
    both = mixed(one, other)
    assert not judge_series(both, Limits()).releasable
    with pytest.raises(SeriesError, match="which of the images at one position belong together"):
        check_series(both, RELEASABLE)


@pytest.mark.parametrize("numbering", ["one after the other", "side by side"])
def test_passes_that_instance_number_tells_apart_are_released_whole(numbering: str) -> None:
    side = numbering == "side by side"
    one = [replace(h, instance_number=2 * k + 1 if side else k + 1) for k, h in enumerate(stack("a"))]
    other = [replace(h, instance_number=2 * k + 2 if side else COUNT + k + 1) for k, h in enumerate(stack("b"))]
    both = mixed(one, other)
    check_series(both, RELEASABLE)
    assert names(sorted_positions(both)) == {"a"}
