"""Labels on another grid: organs interpolated in their boxes say what whole volumes would say."""

import numpy as np
import pytest
from rtseg_training.sets import labels
from rtseg_training.sets.cases import Case
from rtseg_training.sets.labels import labels_on

from rtseg_daemon.anatomy.volume import Array, Box, Grid, bounding_box
from rtseg_daemon.segment.resample import interpolate, part_of, spaced_grid
from tests.unit.training.conftest import ORGANS


def whole(case: Case, grid: Grid) -> Array:
    """The same by interpolating every mask on the whole grid."""
    found, best = np.zeros(grid.shape, np.uint8), np.full(grid.shape, 0.5, np.float32)
    for k, organ in enumerate(ORGANS, 1):
        share = interpolate(case.ct.with_array(case.mask(organ).astype(np.float32)), grid, 0.0).array
        found[share >= best] = k
        best = np.maximum(best, share)
    return found


@pytest.mark.parametrize("spacing", [(5.0, 8.0, 8.0), (3.1, 2.7, 3.3), (1.2, 4.0, 2.0)])
def test_only_each_organs_box_is_interpolated_and_the_labels_are_those_of_whole_volumes(
    case: Case, spacing: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, sizes = spaced_grid(case.ct, spacing), []
    plain = labels.multiplied
    monkeypatch.setattr(labels, "multiplied", lambda a, m, axis: (sizes.append(a.size), plain(a, m, axis))[1])
    found, annotated = labels_on(case, grid, ORGANS)
    assert np.array_equal(found, whole(case, grid))
    assert annotated.all()
    assert max(sizes) < 0.25 * max(case.ct.array.size, found.size)


def test_a_part_of_a_grid_has_the_labels_of_that_part(case: Case) -> None:
    grid = spaced_grid(case.ct, (4.0, 5.0, 3.0))
    part = Box((3, 5, 20), (grid.shape[0] - 4, grid.shape[1] - 2, grid.shape[2] - 30))
    found, _ = labels_on(case, grid, ORGANS, part)
    assert np.array_equal(found, labels_on(case, grid, ORGANS)[0][part.slices])
    assert found.shape == part_of(grid, part).shape


def test_a_grid_beside_the_case_has_no_labels(case: Case) -> None:
    grid = Grid((4, 5, 6), (3.0, 3.0, 3.0), (9999.0, 0.0, 0.0))
    assert not labels_on(case, grid, ORGANS)[0].any()


def test_boxes_come_from_one_look_at_the_bits(case: Case) -> None:
    for organ in ORGANS:
        box = bounding_box(case.mask(organ))
        assert case.box(organ) == box
        assert box is not None
        assert np.array_equal(case.mask(organ, box), case.mask(organ)[box.slices])
    none = Case("x", case.ct, np.zeros_like(case.bits), case.structures, case.status)
    assert none.box(ORGANS[0]) is None
