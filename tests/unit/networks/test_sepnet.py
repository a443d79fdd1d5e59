"""3D-SepNet is built as Fig. 5 says: the parameter count and its ratio to a 3D U-Net are the check."""

import pytest
import torch
from torch import nn

from rtseg_daemon.networks import build
from rtseg_daemon.networks.sepnet import SeparatedBlock


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_paper_width_has_the_papers_two_and_a_half_million_parameters():
    assert parameters(build("sepnet", classes=23, width=48)) == pytest.approx(2.5e6, rel=0.01)


def test_a_third_of_the_unet_of_the_same_base():
    assert 9.2e6 / parameters(build("sepnet", classes=23, width=48)) == pytest.approx(3.7, abs=0.3)


def test_eleven_blocks():
    assert sum(isinstance(m, SeparatedBlock) for m in build("sepnet", classes=8, width=4).modules()) == 11


def test_cost_per_voxel_is_a_quarter_of_a_million_products():
    net, products = build("sepnet", classes=23, width=48), 0

    def count(module: nn.Conv3d, _inputs: object, output: torch.Tensor) -> None:
        nonlocal products
        products += module.weight.numel() * output[0, 0].numel()

    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        net(torch.zeros(1, 1, 8, 16, 16))
    assert products / (8 * 16 * 16) == pytest.approx(0.26e6, rel=0.05)


def test_output_has_the_inputs_shape_and_every_parameter_a_gradient():
    net = build("sepnet", classes=3, width=2)
    out = net(torch.rand(1, 1, 16, 16, 24))
    assert out.shape == (1, 3, 16, 16, 24)
    out.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_exports_without_python():
    net = build("sepnet", classes=2, width=2).eval()
    window = torch.rand(1, 1, 16, 16, 16)
    traced = torch.export.export(net, (window,))
    torch.testing.assert_close(traced.module()(window), net(window))
