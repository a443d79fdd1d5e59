"""A network's weights carried over into a wider one of the same family that at first says exactly the same."""

from torch import Tensor, nn


def widened(tensors: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Weights for `net` from those of a network whose every count of channels is a whole fraction of `net`'s.

    Old channel i becomes channel r * i, in every layer, so that concatenated groups stay in order. The channels between
    are new: they keep the random weights of `net`, see the old ones, and reach them with weight 0. Training takes them
    in from its first step on, and starts at the narrow network's figures (the aim of Net2Net, Chen et al. 2016, without
    its doubled channels, which would have to be told apart by noise). Where `tensors` fit as they are, or fit no such
    network, they come back untouched.
    """
    own = {key: value.detach().float().clone() for key, value in net.state_dict().items()}
    if own.keys() != tensors.keys() or not fits(own, tensors):
        return tensors
    turned = inputs_first(net)
    for key, value in tensors.items():
        if value.dim() == 0:
            own[key] = value
        elif key in turned:
            place(value.transpose(0, 1), own[key].transpose(0, 1))
        else:
            place(value, own[key])
    return own


def inputs_first(net: nn.Module) -> set[str]:
    """Weights of transposed convolutions, which count inputs before outputs."""
    return {f"{name}.weight" for name, module in net.named_modules() if isinstance(module, nn.ConvTranspose3d)}


def fits(wide: dict[str, Tensor], narrow: dict[str, Tensor]) -> bool:
    """Whether one factor above 1 widens channels, and nothing but channels: kernels and classes stay as they are."""
    if any(w.dim() != n.dim() or w.shape[2:] != n.shape[2:] for w, n in pairs(wide, narrow)):
        return False
    shapes = [(w.shape[:2], n.shape[:2]) for w, n in pairs(wide, narrow) if w.dim()]
    factors = {a / b for w, n in shapes for a, b in zip(w, n, strict=True)} - {1.0}
    same = sum(w[0] == n[0] for w, n in shapes)  # what answers in classes, and nothing else
    return len(factors) == 1 and factors.pop().is_integer() and 0 < same < len(shapes) / 2


def pairs(wide: dict[str, Tensor], narrow: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each parameter of both."""
    return [(wide[key], narrow[key]) for key in narrow]


def place(narrow: Tensor, wide: Tensor) -> None:
    """Put `narrow` at every r-th output and input channel of `wide`, and 0 from new inputs to old outputs."""
    rows = wide[:: wide.shape[0] // narrow.shape[0]]
    if wide.dim() == 1:
        rows.copy_(narrow)
        return
    rows.zero_()
    rows[:, :: wide.shape[1] // narrow.shape[1]] = narrow
