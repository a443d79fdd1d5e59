"""The 3D U-Nets that SepNet is compared with: one topology, three kinds of block, the parameters that the paper has."""

import pytest
import torch
from torch import nn

from rtseg_daemon.networks import build
from rtseg_daemon.networks.unet3d import Block


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_the_paper_has_nine_million_parameters():
    assert parameters(build("unet3d", classes=23, width=48)) == pytest.approx(9.2e6, rel=0.06)


@pytest.mark.parametrize("kind", ["plain", "residual", "se"])
def test_sepnet_has_about_a_third_of_each_kind(kind):
    ratio = parameters(build("unet3d", classes=23, width=48, kind=kind)) / parameters(build("sepnet", classes=23))
    assert ratio == pytest.approx(3.5, abs=0.1)


@pytest.mark.parametrize("kind", ["plain", "residual", "se"])
def test_eleven_blocks_as_in_sepnet(kind):
    net = build("unet3d", classes=8, width=2, kind=kind)
    assert sum(isinstance(m, Block) for m in net.modules()) == 11


def silenced(kind: str) -> Block:
    """A block whose convolutions give nothing, so that only what goes around them is left."""
    block = Block(2, 2, kind)
    for module in block.body.modules():
        if isinstance(module, nn.InstanceNorm3d):
            nn.init.zeros_(module.weight)
    return block


def test_only_the_residual_kinds_have_a_way_around_the_convolutions():
    x = torch.rand(1, 2, 2, 4, 4)
    assert silenced("plain")(x).abs().max() == 0
    for kind in ("residual", "se"):
        block = silenced(kind)
        torch.testing.assert_close(block(x), block.shortcut(x))


def test_excitation_weighs_whole_channels():
    block = Block(1, 3, "se")
    x = torch.rand(1, 1, 4, 4, 4)
    excited = block(x) - block.shortcut(x)
    weights = block.excite(block.body(x).mean((2, 3, 4)))
    assert weights.shape == (1, 3, 1, 1, 1)
    torch.testing.assert_close(excited, block.body(x) * weights)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"'dense'.*plain, residual, se"):
        build("unet3d", classes=3, kind="dense")
