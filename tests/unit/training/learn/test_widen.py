"""A wider network starts where the narrow one stands, and learns with all of itself."""

import pytest
import torch
from rtseg_training.learn.widen import widened
from torch import nn

from rtseg_daemon.networks import build


def sized(family: str, width: int) -> nn.Module:
    """A network in training, where batch norm measures what it sees."""
    if family == "gtv":
        return build(family, classes=3, widths=[width, width, 2 * width, 2 * width, 4 * width])
    return build(family, classes=3, width=width)


@pytest.mark.parametrize(("family", "ratio"), [("sepnet", 2), ("sepnet", 3), ("unet3d", 2), ("gtv", 2)])
def test_a_widened_network_says_what_the_narrow_one_said(family: str, ratio: int) -> None:
    torch.manual_seed(0)
    narrow, wide = sized(family, 4), sized(family, 4 * ratio)
    wide.load_state_dict(widened(narrow.state_dict(), wide))
    x = torch.rand(2, 1, 16, 16, 16)
    with torch.inference_mode():
        assert torch.allclose(narrow(x), wide(x), atol=1e-4)


def test_new_channels_learn_from_the_second_step_on() -> None:
    torch.manual_seed(0)
    narrow, wide = build("sepnet", classes=3, width=2), build("sepnet", classes=3, width=4)
    wide.load_state_dict(widened(narrow.state_dict(), wide))
    before = {key: value.clone() for key, value in wide.state_dict().items()}
    optimizer = torch.optim.Adam(wide.parameters(), 1e-2)
    for _ in range(2):
        loss = wide(torch.rand(1, 1, 16, 16, 16)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    first = wide.state_dict()["encoder.0.body.0.0.weight"] - before["encoder.0.body.0.0.weight"]
    assert bool((first[1::2].abs().amax(dim=(1, 2, 3, 4)) > 0).all())


@pytest.mark.parametrize("other", [{"width": 8}, {"width": 3}, {"classes": 6}, {"classes": 6, "width": 4}])
def test_weights_that_fit_or_never_will_come_back_untouched(other: dict[str, int]) -> None:
    narrow, wide = build("sepnet", **{"classes": 3, "width": 8} | other), build("sepnet", classes=12, width=8)
    if "classes" not in other:
        wide = build("sepnet", classes=3, width=8)
    weights = narrow.state_dict()
    assert widened(weights, wide) is weights
