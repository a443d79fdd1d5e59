"""The GTV network is built as its paper says: nine blocks, PE before all but one, AM where the decoder attends."""

import math

import pytest
import torch
from torch import nn

from rtseg_daemon.networks import build
from rtseg_daemon.networks.gtv import PlaneAttention, ProjectExcite


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def count(net: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(m, kind) for m in net.modules())


def test_the_papers_widths_have_four_point_two_million_parameters():
    assert parameters(build("gtv", classes=2)) == pytest.approx(4.2e6, rel=0.01)


def test_nine_blocks_of_two_convolutions_three_pools_and_the_modules_in_their_places():
    net = build("gtv", classes=2, widths=[2, 2, 4, 4, 6])
    assert count(net, nn.BatchNorm3d) == 18
    assert count(net, ProjectExcite) == 8
    assert count(net, PlaneAttention) == 5
    smallest = []
    net.bottom.register_forward_hook(lambda _m, _i, out: smallest.append(out.shape[2:]))
    net.eval()(torch.rand(1, 1, 3, 16, 24))
    assert smallest == [(3, 2, 3)]


@pytest.mark.parametrize(("pe", "am"), [(False, True), (True, False), (False, False)])
def test_modules_can_be_left_out(pe, am):
    net = build("gtv", classes=2, widths=[2, 2, 4, 4, 6], pe=pe, am=am)
    assert (count(net, ProjectExcite), count(net, PlaneAttention)) == (8 * pe, 5 * am)


def test_only_the_bottom_block_looks_across_slices():
    net = build("gtv", classes=2, widths=[2, 2, 4, 4, 6], pe=False).double().eval()
    image = torch.rand(1, 1, 7, 8, 8, dtype=torch.float64)
    altered = image.clone()
    altered[:, :, 0] += 100
    with torch.inference_mode():
        differ = (net(image) - net(altered)).abs().amax((0, 1, 3, 4))
    assert (differ[:3] > 0).all()
    assert (differ[3:] == 0).all()


def test_project_excite_of_two_channels_by_hand():
    """Eqs. 1 to 5 written as sums over one map of 2 x 1 x 2 voxels, F1 = [1, -2], F2 = [3, -1] with bias [0, 0.5]."""
    module = ProjectExcite(2, d=2)
    a = [[1.0, 2.0], [3.0, 4.0]]
    b = [[0.5, 0.0], [0.25, 0.25]]
    with torch.no_grad():
        module.f1.weight.copy_(torch.tensor([1.0, -2.0]).reshape(1, 2, 1, 1, 1))
        module.f2.weight.copy_(torch.tensor([3.0, -1.0]).reshape(2, 1, 1, 1, 1))
        module.f2.bias.copy_(torch.tensor([0.0, 0.5]))
    out = module(torch.tensor([a, b]).reshape(1, 2, 2, 1, 2))

    def z(map_: list[list[float]], k: int, j: int) -> float:
        depth = sum(map_[k]) / 2
        row = sum(sum(line) for line in map_) / 4
        column = (map_[0][j] + map_[1][j]) / 2
        return depth + row + column

    for k in range(2):
        for j in range(2):
            hidden = max(0.0, z(a, k, j) - 2 * z(b, k, j))
            assert out[0, 0, k, 0, j].item() == pytest.approx(a[k][j] / (1 + math.exp(-3 * hidden)), rel=1e-5)
            assert out[0, 1, k, 0, j].item() == pytest.approx(b[k][j] / (1 + math.exp(hidden - 0.5)), rel=1e-5)


def test_attention_of_two_channels_by_hand():
    """Kernels of a centre tap and one neighbour: h = relu(x0 - x1), a = sigmoid(h + 2 h_right - 1), out = a x + x."""
    module = PlaneAttention(2)
    first, second = module.attention[0], module.attention[2]
    with torch.no_grad():
        for conv in (first, second):
            conv.weight.zero_()
            conv.bias.zero_()
        first.weight[0, :, 0, 1, 1] = torch.tensor([1.0, -1.0])
        second.weight[0, 0, 0, 1, 1:] = torch.tensor([1.0, 2.0])
        second.bias.fill_(-1.0)
    x = torch.tensor([[[1.0, 3.0]], [[2.0, 1.0]]]).reshape(1, 2, 1, 1, 2)
    left, right = (1 / (1 + math.exp(-v)) for v in (0 + 2 * 2 - 1, 2 - 1))
    expected = torch.tensor([[1 + left, 3 * (1 + right)], [2 * (1 + left), 1 + right]]).reshape(1, 2, 1, 1, 2)
    torch.testing.assert_close(module(x), expected)
