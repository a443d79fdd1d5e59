"""What a training set says of its organs, measured in their boxes."""

import numpy as np
import pytest
from rtseg_training.bundle.population import described, volume_prior
from rtseg_training.errors import ExportError
from rtseg_training.sets.cases import Case

from tests.unit.training.conftest import ORGANS


def test_volumes_and_middles_are_those_of_the_whole_masks(case: Case) -> None:
    found = described(case, [*ORGANS, "Larynx"])
    assert found.volume_ml.keys() == set(ORGANS)
    for organ in ORGANS:
        mask = case.mask(organ)
        assert found.volume_ml[organ] == pytest.approx(float(mask.sum()) * case.ct.voxel_ml)
        assert found.middle[organ] == pytest.approx(float(np.nonzero(mask)[2].mean()))


def test_an_organ_that_no_case_has_is_named(case: Case) -> None:
    with pytest.raises(ExportError, match="Larynx: no case of the training set has it"):
        volume_prior([described(case, ORGANS)], "Larynx")
