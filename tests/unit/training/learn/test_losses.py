"""Every loss against a value worked out by hand, its gradient against finite differences, and in half precision."""

import math
from collections.abc import Callable

import pytest
import torch
from rtseg_training.learn import losses, recipe
from rtseg_training.learn.dataset import Patch
from rtseg_training.learn.trainer import make_loss
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

WEIGHTS = torch.tensor([1.0, 2.0, 3.0])
LOSSES: dict[str, Loss] = {
    "l_exp": lambda z, y, a: losses.exponential_logarithmic(z, y, a, WEIGHTS.to(z), None),
    "ath_l_exp": lambda z, y, a: losses.exponential_logarithmic(z, y, a, WEIGHTS.to(z), 0.5),
    "ath_l_exp masked": lambda z, y, a: losses.exponential_logarithmic(z, y, a, WEIGHTS.to(z), 1.0, marginal=False),
    "gamma 0.5": lambda z, y, a: losses.exponential_logarithmic(z, y, a, WEIGHTS.to(z), 0.5, gamma=0.5),
    "dice": losses.dice_loss,
    "pooled_dice": losses.pooled_dice,
    "tversky_focal": lambda z, y, a: losses.tversky_focal(z, y, a, WEIGHTS.to(z)),
    "focal_dice": lambda z, y, a: losses.focal_dice(z, y, a, WEIGHTS.to(z)),
}


def logits_of(*voxels: tuple[float, ...]) -> Tensor:
    """Logits `(1, classes, 1, 1, n)` whose softmax are the given probabilities."""
    return torch.tensor(voxels).T.log()[None, :, None, None, :]


def labels_of(*labels: int) -> Tensor:
    return torch.tensor(labels)[None, None, None, :]


ALL = torch.tensor([[True, True, True]])
TWO_VOXELS = (logits_of((0.5, 0.25, 0.25), (0.2, 0.7, 0.1)), labels_of(0, 1))


def focal_of_two_voxels(p: Tensor, believed: tuple[bool, bool] = (True, True)) -> float:
    """The focal part of FocusNet's loss by hand, from the probabilities `(classes, 2)` of the two voxels."""
    each = [w * (1 - q) ** 2 * -math.log(q) for w, q in ((1, p[0, 0].item()), (2, p[1, 1].item()))]
    return sum(f for f, b in zip(each, believed, strict=True) if b) / sum(believed)


def test_dice_by_hand() -> None:
    # class 1: 2 * 0.7 + 1 over (0.25 + 0.7) + 1 + 1; class 2 is not in the patch and does not count
    assert losses.dice_loss(*TWO_VOXELS, ALL).item() == pytest.approx(1 - 2.4 / 2.95, rel=1e-5)


def test_l_exp_by_hand() -> None:
    expected = -math.log(2.4 / 2.95) + (1 * -math.log(0.5) + 2 * -math.log(0.7)) / 2
    assert LOSSES["l_exp"](*TWO_VOXELS, ALL).item() == pytest.approx(expected, rel=1e-5)


def test_attention_enters_the_dice_term_only_by_hand() -> None:
    wrong, right = 0.25 * math.exp(0.25 / 0.5), 0.7 * math.exp((0.7 - 1) / 0.5)
    dice = (2 * right + 1) / (wrong + right + 1 + 1)
    expected = -math.log(dice) + (1 * -math.log(0.5) + 2 * -math.log(0.7)) / 2
    assert LOSSES["ath_l_exp"](*TWO_VOXELS, ALL).item() == pytest.approx(expected, rel=1e-5)


def test_a_sure_wrong_voxel_weighs_e_squared_at_alpha_one_half() -> None:
    assert losses.hard_voxels(torch.tensor(1.0), torch.tensor(0.0), 0.5).item() == pytest.approx(7.389, abs=1e-3)


def test_pooled_dice_takes_the_batch_as_one_volume_by_hand() -> None:
    # two patches of one voxel: the target is in the first (p 0.8), not in the second (p 0.5):
    # (2 * 0.8 + 1) / (1.3 + 1 + 1)
    logits = torch.cat([logits_of((0.2, 0.8)), logits_of((0.5, 0.5))])
    labels = torch.cat([labels_of(1), labels_of(0)])
    known = torch.ones(2, 2, dtype=torch.bool)
    assert float(losses.pooled_dice(logits, labels, known)) == pytest.approx(1 - 2.6 / 3.3)


def test_pooled_dice_leaves_out_the_patch_whose_case_has_no_target_drawn() -> None:
    logits = torch.cat([logits_of((0.2, 0.8)), logits_of((0.5, 0.5))])
    labels = torch.cat([labels_of(1), labels_of(0)])
    known = torch.tensor([[True, True], [True, False]])
    assert float(losses.pooled_dice(logits, labels, known)) == pytest.approx(1 - 2.6 / 2.8)


def test_focal_by_hand() -> None:
    logits, labels = TWO_VOXELS
    each = losses.focal_surprise(torch.log_softmax(logits, 1), labels).flatten().tolist()
    assert each == pytest.approx([0.5**2 * -math.log(0.5), 0.3**2 * -math.log(0.7)], rel=1e-5)


def test_tversky_focal_by_hand() -> None:
    # T_c = overlap / (overlap + wrong / 2 + missed / 2)
    background = 0.5 / (0.5 + 0.1 + 0.25)
    first = 0.7 / (0.7 + 0.125 + 0.15)
    second = 1e-5 / (0.175 + 1e-5)
    region = (1 - background) + 2 * (1 - first) + 3 * (1 - second)
    focal = (0.5**2 * -math.log(0.5) + 2 * 0.3**2 * -math.log(0.7)) / 2
    assert LOSSES["tversky_focal"](*TWO_VOXELS, ALL).item() == pytest.approx(region + 0.5 * focal, rel=1e-4)


def test_a_recipe_may_have_anatomynets_dice_part_alone() -> None:
    drawn = torch.tensor([6.0, 3.0, 2.0])  # cases: their inverse is a sixth of WEIGHTS
    patch = Patch(torch.zeros(1, 1, 1, 1, 2), TWO_VOXELS[1], ALL)
    region = losses.tversky_focal(*TWO_VOXELS, ALL, WEIGHTS / 6, share=0)
    hybrid = losses.tversky_focal(*TWO_VOXELS, ALL, WEIGHTS / 6)
    assert hybrid.item() > region.item() > 0
    for name, expected in (("tversky", region), ("dice_focal", hybrid)):
        made = make_loss(recipe.Loss.model_validate({"name": name}), torch.ones(3), drawn)
        assert made(TWO_VOXELS[0], patch).item() == pytest.approx(expected.item(), rel=1e-6)


def test_anatomynet_masks_the_missing_organ_and_the_background_with_it() -> None:
    """With organ 2 not drawn neither it nor the background counts, in region term and focal alike."""
    annotated = torch.tensor([[True, True, False]])
    first = 2 * (1 - 0.7 / (0.7 + 0.125 + 0.15)) + 0.5 * 2 * 0.3**2 * -math.log(0.7) / 2
    assert LOSSES["tversky_focal"](*TWO_VOXELS, annotated).item() == pytest.approx(first, rel=1e-4)


def test_anatomynets_background_counts_only_where_all_organs_are_drawn() -> None:
    """Its weight changes the loss of a case that has all organs, and of no other (equations 4 to 6)."""
    for annotated, counts in ((ALL, True), (torch.tensor([[True, True, False]]), False)):
        light, heavy = (losses.tversky_focal(*TWO_VOXELS, annotated, torch.tensor([w, 1.0, 1.0])) for w in (0.1, 1.0))
        assert (heavy.item() > light.item() + 0.01) == counts


def test_focusnets_dice_sums_over_all_classes_and_the_background_by_hand() -> None:
    """Equation 2 over the two classes that are there. The third has no voxel: a constant in the paper, nothing here."""
    p = torch.softmax(TWO_VOXELS[0], 1)[0, :, 0, 0]
    there = [1 - (2 * p[c, n] + 1) / (1 + p[c].sum() + 1) for c, n in ((0, 0), (1, 1))]
    found = losses.focal_dice(*TWO_VOXELS, ALL, WEIGHTS) - focal_of_two_voxels(p)
    assert found.item() == pytest.approx(sum(t.item() for t in there), rel=1e-4)


def test_focusnets_background_has_a_dice_where_it_may_be_believed() -> None:
    annotated = torch.tensor([[True, True, False]])
    parts = {m: losses.focal_dice(*TWO_VOXELS, annotated, WEIGHTS, marginal=m) for m in (True, False)}
    p = torch.softmax(TWO_VOXELS[0], 1)[0, :, 0, 0]
    masked = focal_of_two_voxels(p, believed=(False, True))
    p[0] += p[2]
    merged = focal_of_two_voxels(p)
    organ = losses.dice_loss(*TWO_VOXELS, annotated, marginal=False)
    assert (parts[False] - masked).item() == pytest.approx(organ.item(), rel=1e-5)
    assert (parts[True] - merged).item() > organ.item() + 0.05


def test_masked_loss_leaves_out_background_voxels_of_a_case_that_lacks_an_organ() -> None:
    annotated = torch.tensor([[True, True, False]])
    found = losses.exponential_logarithmic(*TWO_VOXELS, annotated, WEIGHTS, None, marginal=False)
    assert found.item() == pytest.approx(-math.log(2.4 / 2.95) + 2 * -math.log(0.7), rel=1e-5)


def test_an_organ_that_nobody_drew_counts_as_background_in_the_marginal_loss() -> None:
    log_p = losses.marginal_log_probabilities(TWO_VOXELS[0], torch.tensor([[True, True, False]]))
    p = log_p.exp()[0, :, 0, 0]
    assert p[:, 0].tolist() == pytest.approx([0.75, 0.25, 0], abs=1e-6)
    assert p[:, 1].tolist() == pytest.approx([0.3, 0.7, 0], abs=1e-6)


@pytest.mark.parametrize("name", ["l_exp", "ath_l_exp", "dice", "focal_dice", "ath_l_exp masked"])
def test_an_organ_that_is_not_drawn_is_never_taught_as_background(name: str) -> None:
    """Sure of the undrawn organ 2 where the label says background: no loss pushes its probability down."""
    z = logits_of((0.05, 0.05, 0.9), (0.1, 0.8, 0.1)).requires_grad_()
    LOSSES[name](z, labels_of(0, 1), torch.tensor([[True, True, False]])).backward()
    assert z.grad is not None
    assert z.grad[0, 2, 0, 0, 0].item() <= 1e-7


def test_no_organ_in_the_patch_leaves_a_finite_loss() -> None:
    for name, loss in LOSSES.items():
        z = torch.zeros(1, 3, 2, 2, 2, requires_grad=True)
        value = loss(z, torch.zeros(1, 2, 2, 2, dtype=torch.long), ALL)
        value.backward()
        assert math.isfinite(value.item()), name


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("annotated", [[True, True, True], [True, True, False]])
def test_gradient_is_that_of_finite_differences(
    name: str, annotated: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # the losses sum in float32; the check needs more digits
    torch.manual_seed(0)
    z = torch.randn(2, 3, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 2 if not annotated[2] else 3, (2, 2, 2, 3))
    known = torch.tensor([annotated, annotated])
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, labels, known), (z,), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_finite_in_half_precision_even_for_sure_and_wrong_logits(name: str, dtype: torch.dtype) -> None:
    z = torch.full((1, 3, 16, 32, 32), -300.0, dtype=dtype)
    z[:, 1] = 300.0
    z.requires_grad_()
    labels = torch.zeros(1, 16, 32, 32, dtype=torch.long)
    labels[:, :2] = 2
    value = LOSSES[name](z, labels, ALL)
    value.backward()
    assert z.grad is not None
    assert math.isfinite(value.item())
    assert bool(z.grad.isfinite().all())


def test_class_weights_are_the_root_of_the_inverse_share() -> None:
    weights = losses.class_weights(torch.tensor([90.0, 9.0, 1.0, 0.0]))
    assert weights.tolist() == pytest.approx([math.sqrt(100 / 90), math.sqrt(100 / 9), 10.0, 10.0])


def test_case_and_size_weights() -> None:
    assert losses.case_weights(torch.tensor([4.0, 2.0, 0.0])).tolist() == pytest.approx([0.25, 0.5, 0.0])
    assert losses.size_weights(torch.tensor([4.0, 1.0, 0.0])).tolist() == pytest.approx([5 / 12, 5 / 3, 5 / 3])
