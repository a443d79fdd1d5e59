"""FocusNet looks where its heat map says, pastes what it saw there, and does so again once traced and converted."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rtseg_daemon.networks import build
from rtseg_daemon.networks.focusnet import (
    DILATIONS,
    OUTSIDE,
    FocusNet,
    box_voxels,
    cut,
    first_voxel,
    fuse,
    pasted,
    peak,
)
from rtseg_daemon.segment.engines.openvino_library import ov

CLASSES = 4
SMALL = [3, 1]
BOXES = [(2, 4, 6), (3, 3, 5)]
WINDOW = (8, 12, 16)


def focusnet(widths: tuple[int, ...] = (4, 4, 8)) -> FocusNet:
    torch.manual_seed(1)
    net = build("focusnet", classes=CLASSES, small=SMALL, boxes=[s for box in BOXES for s in box], widths=list(widths))
    assert isinstance(net, FocusNet)
    return net.eval()


class Echo(nn.Module):
    """Stands for S-Net: logits of 0, and the image as first channel of both feature maps."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = image.expand(-1, 4, -1, -1, -1)
        return torch.zeros_like(image).expand(-1, CLASSES, -1, -1, -1), features, features


class Extremes(nn.Module):
    """Stands for SOL-Net: the first organ is where the image is brightest, the second where it is darkest."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([features[:, :1], -features[:, :1]], dim=1)


class Sure(nn.Module):
    """Stands for SOS-Net: log-odds 5 in the whole box."""

    def forward(self, views: Tensor) -> Tensor:
        return views[:, :1] * 0 + 5.0


def pointed() -> FocusNet:
    """FocusNet whose boxes are told by the brightest and the darkest voxel."""
    net = focusnet()
    net.snet, net.sol, net.sos = Echo(), Extremes(), nn.ModuleList([Sure(), Sure()])
    return net


def image_with(bright: tuple[int, int, int], dark: tuple[int, int, int], window=WINDOW) -> Tensor:
    image = torch.zeros(1, 1, *window)
    image[0, 0][bright] = 3.0
    image[0, 0][dark] = -3.0
    return image


def box_around(centre: tuple[int, int, int], box: tuple[int, int, int], window=WINDOW) -> Tensor:
    """Mask of the box around `centre`, moved into the volume."""
    mask = torch.zeros(window, dtype=torch.bool)
    first = [min(max(c - side // 2, 0), n - side) for c, side, n in zip(centre, box, window, strict=True)]
    mask[tuple(slice(f, f + side) for f, side in zip(first, box, strict=True))] = True
    return mask


def converted(net: nn.Module, window: tuple[int, int, int]):
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        trace = torch.jit.trace(net, torch.zeros(1, 1, *window), check_trace=False)
        model = ov.convert_model(trace, input=[([1, 1, *window], ov.Type.f32)])
    run = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1})
    return lambda image: torch.from_numpy(run([image.numpy()])[0].copy())


PLACES = [((2, 5, 7), (6, 2, 12)), ((0, 0, 15), (7, 11, 0)), ((5, 11, 3), (1, 6, 8))]


@pytest.mark.parametrize(("bright", "dark"), PLACES)
def test_organ_is_pasted_where_the_heat_map_is_highest(bright, dark):
    labels = pointed()(image_with(bright, dark))[0].softmax(0) > 0.5
    one, other = box_around(bright, BOXES[0]), box_around(dark, BOXES[1])
    assert not (one & other).any()
    assert torch.equal(labels[SMALL[0]], one)
    assert torch.equal(labels[SMALL[1]], other)


def test_converted_model_moves_its_boxes_with_the_maximum_in_16_bits_too():
    """98304 voxels: an index kept in the 8 bits of a bf16's mantissa would miss."""
    window = (8, 96, 128)
    run = converted(pointed(), window)
    for bright, dark in [((5, 81, 121), (1, 3, 6)), ((0, 2, 3), (6, 93, 109)), ((6, 50, 67), (2, 77, 127))]:
        labels = run(image_with(bright, dark, window))[0].softmax(0) > 0.5
        assert torch.equal(labels[SMALL[0]], box_around(bright, BOXES[0], window))
        assert torch.equal(labels[SMALL[1]], box_around(dark, BOXES[1], window))


def odds_of(logits: Tensor, channel: int) -> Tensor:
    others = [c for c in range(CLASSES) if c not in SMALL]
    return logits[:, channel] - logits[:, others].logsumexp(1)


def test_trained_weights_or_not_the_box_of_the_fused_answer_is_that_of_the_parts():
    net = focusnet()
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(3, 1, *WINDOW, generator=generator)
    with torch.inference_mode():
        logits, parts = net(images), net.parts(images)
    for i, channel in enumerate(SMALL):
        assert len({tuple(start) for start in parts.starts[i].tolist()}) > 1
        for b in range(3):
            heat = parts.heat[b, i]
            centre = tuple(int(n) for n in torch.unravel_index(heat.argmax(), heat.shape))
            inside = box_around(centre, BOXES[i])
            odds = odds_of(logits, channel)[b]
            torch.testing.assert_close(odds[inside].reshape(BOXES[i]), parts.roi[i][b, 0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(odds[~inside], torch.full_like(odds[~inside], OUTSIDE), rtol=1e-4, atol=1e-4)


def test_parts_have_the_shapes_that_the_losses_expect():
    parts = focusnet().parts(torch.rand(2, 1, *WINDOW))
    assert parts.semantic.shape == (2, CLASSES, *WINDOW)
    assert parts.heat.shape == (2, 2, *WINDOW)
    assert 0 <= parts.heat.min() <= parts.heat.max() <= 1
    assert [roi.shape for roi in parts.roi] == [(2, 1, *box) for box in BOXES]
    assert [(s.shape, s.is_floating_point()) for s in parts.starts] == [((2, 3), False)] * 2


def test_given_centres_place_the_boxes_and_unknown_ones_leave_it_to_the_heat_map():
    net = focusnet()
    image = torch.rand(2, 1, *WINDOW)
    nan = float("nan")
    centres = torch.tensor([[[4.4, 6.0, 7.6], [nan, nan, nan]], [[-1.0, -1.0, -1.0], [7.0, 0.0, 15.0]]])
    own, given_ = net.parts(image).starts, net.parts(image, centres).starts
    assert given_[0][0].tolist() == [3, 4, 5]
    assert given_[1][1].tolist() == [5, 0, 11]
    assert torch.equal(given_[1][0], own[1][0])
    assert torch.equal(given_[0][1], own[0][1])


def test_heat_of_an_untrained_network_is_low_everywhere_as_most_of_the_targets_are():
    assert focusnet().parts(torch.rand(1, 1, *WINDOW)).heat.mean() < 0.1


def test_a_stage_can_freeze_the_networks_before_it():
    net = focusnet().train()
    net.snet.requires_grad_(False)
    net.parts(torch.rand(1, 1, *WINDOW)).heat.square().mean().backward()
    assert all(p.grad is None for p in net.snet.parameters())
    assert all(p.grad is not None for p in net.sol.parameters())


def test_sos_trains_through_the_fused_answer_and_the_heat_map():
    net = focusnet().train()
    net(torch.rand(1, 1, *WINDOW)).softmax(1)[:, SMALL].mean().backward()
    for part in (net.snet, net.sol, net.sos):
        assert sum(p.grad.abs().sum() for p in part.parameters() if p.grad is not None) > 0


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=30, deadline=None)
def test_peak_is_the_flat_maximum(seed):
    # few values, so that most volumes have several equal maxima
    scores = torch.randint(0, 6, (2, 3, 4, 5), generator=torch.Generator().manual_seed(seed)).float()
    for i, found in enumerate(peak(scores).tolist()):
        places = (scores[i] == scores[i].max()).nonzero()
        assert found == places[0].tolist()


@given(st.tuples(*[st.integers(-3, n + 3) for n in WINDOW]))
@settings(max_examples=50, deadline=None)
def test_every_box_lies_in_the_volume_and_what_is_cut_is_pasted_back(centre):
    volume = torch.arange(8 * 12 * 16).float().reshape(1, 1, *WINDOW)
    starts = first_voxel(torch.tensor([centre]), BOXES[0], volume)
    voxels = box_voxels(starts, BOXES[0], volume)
    back = pasted(cut(volume, voxels, BOXES[0]), voxels, volume[:, 0])
    mask = box_around(centre, BOXES[0])
    assert torch.equal(back[0][mask], volume[0, 0][mask])
    assert (back[0][~mask] == OUTSIDE).all()


def test_fusion_gives_the_organ_its_sigmoid_and_the_others_the_rest_in_proportion():
    generator = torch.Generator().manual_seed(2)
    semantic = torch.randn(1, CLASSES, 1, 1, 5, generator=generator)
    odds = torch.tensor([-40.0, -2.0, 0.0, 3.0, 40.0]).reshape(1, 1, 1, 5)
    fused = fuse(semantic, [odds], [2]).softmax(1)
    torch.testing.assert_close(fused[:, 2], odds.sigmoid())
    others = semantic[:, [0, 1, 3]].softmax(1) * (1 - odds.sigmoid())[:, None]
    torch.testing.assert_close(fused[:, [0, 1, 3]], others)


def test_two_boxes_that_overlap_compete_by_their_odds():
    odds = [torch.full((1, 1, 1, 1), value) for value in (1.0, 2.0)]
    fused = fuse(torch.zeros(1, CLASSES, 1, 1, 1), odds, SMALL).softmax(1).flatten()
    weights = torch.tensor([0.5, 2.0, 0.5, 1.0])
    weights[SMALL[0]], weights[SMALL[1]] = torch.exp(torch.tensor(1.0)), torch.exp(torch.tensor(2.0))
    torch.testing.assert_close(fused, weights / weights.sum())


def test_dense_aspp_dilates_within_the_slice_and_keeps_the_grid():
    net = focusnet()
    dilations = {m.dilation for m in net.snet.aspp.modules() if isinstance(m, nn.Conv3d)}
    assert dilations == {(1, 1, 1)} | {(1, d, d) for d in DILATIONS}
    x = torch.rand(1, 8, 4, 6, 8)
    assert net.snet.aspp(x).shape == x.shape


def test_one_down_sampling():
    net = focusnet((4, 5, 6, 7))
    sizes = set()
    for module in net.snet.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(lambda _m, _i, out: sizes.add(tuple(out.shape[2:])))
    net(torch.rand(1, 1, *WINDOW))
    assert sizes == {WINDOW, tuple(side // 2 for side in WINDOW)}


@pytest.mark.parametrize(
    ("small", "boxes", "message"),
    [
        ([1, 2], [4, 4, 4], "2 small organs and 3 box sides"),
        ([0], [4, 4, 4], "different channels from 1 to 3"),
        ([4], [4, 4, 4], "different channels from 1 to 3"),
        ([1, 1], [4] * 6, "different channels from 1 to 3"),
    ],
)
def test_small_organs_that_do_not_fit_are_refused(small, boxes, message):
    with pytest.raises(ValueError, match=message):
        build("focusnet", classes=CLASSES, small=small, boxes=boxes)


def test_a_volume_smaller_than_a_box_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 12, 16\) voxels cannot hold focusnet's box \(3, 3, 5\)"):
        focusnet()(torch.rand(1, 1, 2, 12, 16))
