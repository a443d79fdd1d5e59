"""What a refresh goes on from, and from what it cannot."""

import pytest
from rtseg_training.bundle.refresh import recipe_of
from rtseg_training.errors import ExportError

from rtseg_daemon.bundles import MemberFile
from tests.structure_sets import tiny_bundle


def member(alpha: float | None, mirror: bool = False) -> MemberFile:
    return MemberFile(name="a", file="a", sha256="0", intensity="SLF2", alpha=alpha, mirror=mirror)


def test_a_member_goes_on_as_it_was() -> None:
    bundle = tiny_bundle("Brainstem", "Parotid_L", "Parotid_R", members=[member(0.5, mirror=True)])
    plan = recipe_of(bundle.model_copy(update={"in_plane": "sample"}), 10, 1e-4)
    own = plan.for_member(plan.members[0])
    assert (own.intensity, own.mirror, own.loss.alpha, own.augment.flip) == (["SLF2"], True, 0.5, 0.5)
    assert plan.in_plane == "sample"


def test_an_organ_of_one_side_is_never_flipped() -> None:
    assert recipe_of(tiny_bundle("Brainstem", "Eye_L", members=[member(1.0)]), 10, 1e-4).augment.flip == 0.0


def test_a_bundle_that_learned_by_another_loss_is_refused() -> None:
    with pytest.raises(ExportError, match="did not learn by ATH-L_Exp"):
        recipe_of(tiny_bundle("Brainstem", members=[member(None)]), 10, 1e-4)
