"""The papers' losses over logits, with organs that are not drawn left out instead of taught as background.

Everywhere: logits `(batch, classes, z, y, x)`, labels `(batch, z, y, x)` int64, annotated `(batch, classes)` bool,
class 0 the background. All sums run in float32 whatever the logits' type, so that half precision stays finite.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_SHARE = 0.5
"""AnatomyNet's lambda: the focal part's share of its hybrid loss."""


def marginal_log_probabilities(logits: Tensor, annotated: Tensor) -> Tensor:
    """Log-probabilities in which every class that is not annotated counts as background.

    Background then means "none of the organs that somebody looked for": its probability is the sum over the background
    and the classes nobody drew, whose own entries become very small.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    shown = annotated.clone()
    shown[:, 0] = True
    if bool(shown.all()):
        return log_p
    merged = log_p.masked_fill(~shown[:, :, None, None, None], -1e4)
    shown[:, 0] = False
    merged[:, 0] = torch.stack([torch.logsumexp(case[~its], dim=0) for case, its in zip(log_p, shown, strict=True)])
    return merged


def hard_voxels(p: Tensor, g: Tensor, alpha: float) -> Tensor:
    """ATH: p^w = p exp((p - g) / alpha). A wrong voxel weighs more, a right one less (seed paper, Sec. ATH)."""
    return p * torch.exp((p - g) / alpha)


def class_dice(p: Tensor, g: Tensor, eps: float = 1.0) -> Tensor:
    """DSC_c = (2 sum g p + eps) / (sum (g + p) + eps) per batch entry and class."""
    overlap = (p * g).flatten(2).sum(2)
    return (2 * overlap + eps) / (p.flatten(2).sum(2) + g.flatten(2).sum(2) + eps)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Float `(batch, classes, z, y, x)` from labels."""
    out = torch.zeros(labels.shape[0], classes, *labels.shape[1:], device=labels.device)
    return out.scatter_(1, labels[:, None], 1.0)


def drawn_and_present(g: Tensor, annotated: Tensor) -> Tensor:
    """Organs that count in a Dice term: annotated in the case and with a voxel in the patch. Never the background."""
    counted = annotated & (g.flatten(2).sum(2) > 0)
    counted[:, 0] = False
    return counted


def class_weights(frequencies: Tensor) -> Tensor:
    """w_c = sqrt(sum_k f_k / f_c) (seed paper). A class without voxels weighs as the rarest one that has some."""
    total = frequencies.sum()
    least = frequencies[frequencies > 0].min()
    return torch.sqrt(total / frequencies.clamp(min=float(least)))


def annotation_mask(annotated: Tensor) -> Tensor:
    """AnatomyNet's m `(batch, classes)`: 1 where the organ is drawn in the case, the background's only if all are."""
    mask = annotated.clone()
    mask[:, 0] = annotated[:, 1:].all(dim=1)
    return mask


def log_probabilities(logits: Tensor, labels: Tensor, annotated: Tensor, marginal: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities, and the voxels `(batch, z, y, x)` whose label may be believed (1 or 0).

    `marginal`: what nobody drew counts as background and every voxel is believed. Otherwise AnatomyNet's mask: the
    softmax stays as it is, and background voxels of a case that lacks an organ teach nothing.
    """
    if marginal:
        return marginal_log_probabilities(logits, annotated), torch.ones_like(labels, dtype=torch.float32)
    mask = annotation_mask(annotated).float()
    believed = mask.gather(1, labels.flatten(1)).view_as(labels)
    return F.log_softmax(logits.float(), dim=1), believed


def mean_over(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of `values` where `weights` (0 or 1) say so, or 0 if nowhere."""
    return (values * weights).sum() / weights.sum().clamp(min=1)


def exponential_logarithmic(
    logits: Tensor, labels: Tensor, annotated: Tensor, weights: Tensor, alpha: float | None,
    gamma: float = 1.0, marginal: bool = True,
) -> Tensor:  # fmt: skip
    """ATH-L_Exp, or L_Exp where `alpha` is None: mean_c (-ln DSC_c)^gamma + mean_x w_y (-ln p_y)^gamma.

    The Dice term runs over the organs that are drawn and present in the patch: an absent one pulls DSC_c to eps / sum
    and stalls training. The attention enters the Dice term only.
    """
    log_p, believed = log_probabilities(logits, labels, annotated, marginal)
    g = one_hot(labels, logits.shape[1])
    p = log_p.exp()
    attended = p if alpha is None else hard_voxels(p, g, alpha)
    dice = -torch.log(class_dice(attended, g).clamp(min=1e-8))
    dice_term = mean_over(dice.clamp(min=1e-7).pow(gamma), drawn_and_present(g, annotated).float())
    surprise = -log_p.gather(1, labels[:, None])[:, 0]
    return dice_term + mean_over(weights[labels] * surprise.clamp(min=1e-7).pow(gamma), believed)


def dice_loss(logits: Tensor, labels: Tensor, annotated: Tensor, marginal: bool = True) -> Tensor:
    """Mean over drawn and present organs of 1 - DSC_c."""
    p = log_probabilities(logits, labels, annotated, marginal)[0].exp()
    g = one_hot(labels, logits.shape[1])
    return mean_over(1 - class_dice(p, g), drawn_and_present(g, annotated).float())


def pooled_dice(logits: Tensor, labels: Tensor, annotated: Tensor) -> Tensor:
    """1 - DSC_c over the whole batch as one volume, mean over the organs that its cases have drawn.

    For thin patches, many of which miss the target: alone they would count as nothing or as a Dice of 0, together with
    the others they teach where it is not.
    """
    p = marginal_log_probabilities(logits, annotated).exp()
    use = annotated[:, :, None, None, None].float()
    g = one_hot(labels, logits.shape[1]) * use
    whole = class_dice((p * use).transpose(0, 1)[None].flatten(2), g.transpose(0, 1)[None].flatten(2))
    counted = annotated.any(dim=0)[None].clone()
    counted[:, 0] = False
    return mean_over(1 - whole, counted.float())


def focal_surprise(log_p: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """(1 - p_y)^gamma (-ln p_y) `(batch, z, y, x)`, y the voxel's true class."""
    true_log_p = log_p.gather(1, labels[:, None])[:, 0]
    return (1 - true_log_p.exp()).pow(gamma) * -true_log_p


def tversky_focal(
    logits: Tensor, labels: Tensor, annotated: Tensor, weights: Tensor, share: float = FOCAL_SHARE, gamma: float = 2.0
) -> Tensor:
    """AnatomyNet: sum_c m(c) w(c) (1 - T_c) + share * masked focal.

    T_c is the Tversky index with alpha = beta = 0.5: its denominator is half of sum p + sum g. m is the annotation
    mask: m(c) = 1 if organ c is drawn in the case, m(0) = 1 only if all are (equations 4 and 5). `weights` are
    w(c) = 1 / number of cases that have c, and w(0) one over the number of those that have all organs: the background
    is weighed by the cases in which it counts.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    p = log_p.exp()
    g = one_hot(labels, logits.shape[1])
    mask = annotation_mask(annotated)
    overlap = (p * g).flatten(2).sum(2)
    tversky = (overlap + 1e-5) / (0.5 * p.flatten(2).sum(2) + 0.5 * g.flatten(2).sum(2) + 1e-5)
    region = ((1 - tversky) * mask * weights).sum() / logits.shape[0]
    believed = (mask * weights).gather(1, labels.flatten(1)).view_as(labels)
    return region + share * (believed * focal_surprise(log_p, labels, gamma)).flatten(1).mean(1).sum() / logits.shape[0]


def focal_dice(logits: Tensor, labels: Tensor, annotated: Tensor, weights: Tensor, marginal: bool = True) -> Tensor:
    """FocusNet: focal (gamma 2, weights inverse to mean size) + sum_c (1 - Dice_c), the background among the classes c.

    Equation 2 sums over all classes from t = 0, and so does this, with three remarks. A class without a voxel in the
    patch has Dice 0 there whatever is predicted: it adds a constant and teaches nothing, so it is left out. An organ
    that nobody drew has no truth and is left out too. Without `marginal` so is the background of such a case.
    `class_dice` adds 1 above and below, which a class of 100 voxels cannot feel and one of a single voxel survives.
    """
    log_p, believed = log_probabilities(logits, labels, annotated, marginal)
    p = log_p.exp()
    g = one_hot(labels, logits.shape[1])
    counted = drawn_and_present(g, annotated)
    background = torch.ones_like(counted[:, 0]) if marginal else annotation_mask(annotated)[:, 0]
    counted[:, 0] = background & (labels == 0).flatten(1).any(dim=1)
    dice = ((1 - class_dice(p, g)) * counted).sum() / logits.shape[0]
    return mean_over(weights[labels] * focal_surprise(log_p, labels), believed) + dice


def case_weights(drawn: Tensor) -> Tensor:
    """AnatomyNet's w(c) = 1 / number of cases that have c, from those numbers `(classes,)`, 0 where nobody has it.

    The first number is that of the cases that have all organs: `dataset.drawn_counts`.
    """
    return torch.where(drawn > 0, 1.0 / drawn.clamp(min=1.0), torch.zeros_like(drawn))


def size_weights(frequencies: Tensor) -> Tensor:
    """FocusNet's alpha_c, inverse to the class's mean size. A class without voxels weighs as the rarest.

    Scaled so that every class has the same part of a mean over voxels: sum_k f_k / (classes f_c). With weights of mean
    1 the organs' few voxels would be lost in that mean, and small ones were not found at all.
    """
    known = frequencies.clamp(min=float(frequencies[frequencies > 0].min()))
    return frequencies.sum() / (len(frequencies) * known)
