"""AnatomyNet is built as its paper says: one down-sampling, the reported parameters, excitation that sees the image."""

import pytest
import torch
from torch import Tensor, nn

from rtseg_daemon.networks import build
from rtseg_daemon.networks.blocks import SEResidual


def test_the_papers_widths_have_nearly_the_papers_parameters():
    net = build("anatomynet", classes=10)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(0.73e6, rel=0.05)


def test_only_the_first_block_halves_the_grid():
    net = build("anatomynet", classes=3, widths=[2, 3, 4, 5]).eval()
    sizes: list[tuple[int, ...]] = []
    for module in net.modules():
        if isinstance(module, SEResidual):
            module.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[1:])))
    net(torch.rand(1, 1, 4, 6, 8))
    widths = [2, 2, 3, 3, 4, 4, 5, 5, 4, 4, 3, 3, 2]
    assert sizes == [(width, 2, 3, 4) for width in widths]


def test_raw_image_reaches_the_last_convolutions_directly():
    net = build("anatomynet", classes=3, widths=[2, 2]).eval()
    seen: list[Tensor] = []
    net.last.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    image = torch.rand(1, 1, 4, 6, 8)
    net(image)
    torch.testing.assert_close(seen[0][:, -1:], image)
    assert (net.last[0].out_channels, net.head.kernel_size) == (16, (3, 3, 3))


def test_residual_block_is_the_activation_of_scaled_residual_plus_input():
    block = SEResidual(3, 3)
    x = torch.rand(2, 3, 4, 4, 4)
    nn.init.constant_(block.excite.weights[2].bias, 50.0)  # s = 1
    plain = block.norm(block.second(block.first(x)))
    torch.testing.assert_close(block(x), nn.functional.leaky_relu(plain + x, 0.01))
    nn.init.constant_(block.excite.weights[2].bias, -50.0)  # s = 0
    torch.testing.assert_close(block(x), x)


def test_what_excitation_sees_depends_on_the_image():
    """The mean of an instance-normed map is a constant; a squeeze of it would weigh every image's channels alike."""
    block = SEResidual(1, 4)
    seen: list[Tensor] = []
    block.excite.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0].detach()))
    generator = torch.Generator().manual_seed(0)
    flat = torch.rand(1, 1, 6, 6, 6, generator=generator)
    spots = (flat > 0.95).float()
    block(flat)
    block(spots)
    assert (seen[0] - seen[1]).abs().max() > 1e-3
