"""The networks' forms for a card, their kernels run by Triton's interpreter on the processor: the networks' answers."""

import importlib.util
import os

import pytest
import torch
import torch.nn.functional as F

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported: kernels are read as Python
pytest.importorskip("triton", reason="Triton is not installed")

from rtseg_training.learn.card import OnCard, learner

from rtseg_daemon.networks import build
from rtseg_daemon.segment.engines import forms
from rtseg_daemon.segment.engines.forms import maps


def as_map(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 4, 1)


@pytest.mark.parametrize(
    ("family", "arguments", "shape"),
    [
        ("sepnet", {"width": 8}, (2, 1, 8, 8, 16)),
        ("anatomynet", {"widths": (12, 14, 16, 18)}, (1, 1, 8, 6, 4)),
    ],
)
def test_a_form_gives_its_networks_answer(family, arguments, shape):
    torch.manual_seed(0)
    net = build(family, classes=4, **arguments).eval().requires_grad_(False)
    image = torch.rand(shape)
    expected = net(image)
    form, trouble = forms.form_of(net, torch.float32, tried=True)
    assert trouble == ""
    torch.testing.assert_close(form(image), expected, atol=2e-3, rtol=1e-3)


def test_a_form_passes_the_gradients_that_its_network_passes():
    torch.manual_seed(1)
    net = build("sepnet", classes=3, width=4).double()
    image, gradient = torch.rand(1, 1, 8, 8, 16, dtype=torch.float64), torch.randn(1, 3, 8, 8, 16, dtype=torch.float64)
    net(image).backward(gradient)
    expected = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    net.float()
    forms.trainable_form(net)(image.float()).backward(gradient.float())
    for name, p in net.named_parameters():
        scale = expected[name].abs().max().clamp_min(1e-3)
        assert ((p.grad - expected[name]).abs().max() / scale).item() < 0.05, name


def test_norm_relu_and_shortcut_are_torchs_forwards_and_backwards():
    torch.manual_seed(0)
    x, s = (torch.randn(2, 8, 4, 3, 5) for _ in range(2))
    w, b = torch.randn(8), torch.randn(8)
    theirs = [t.clone().requires_grad_() for t in (x, w, b, s)]
    expected = F.instance_norm(theirs[0], weight=theirs[1], bias=theirs[2]).relu() + theirs[3]
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    ours = [as_map(x).contiguous(), w.clone(), b.clone(), as_map(s).contiguous()]
    made = maps.norm_relu(*(t.requires_grad_() for t in ours))
    made.backward(as_map(gradient).contiguous())
    torch.testing.assert_close(made, as_map(expected), atol=1e-5, rtol=1e-5)
    for mine, their in zip(ours, theirs, strict=True):
        grad = as_map(their.grad) if their.ndim == 5 else their.grad
        torch.testing.assert_close(mine.grad, grad, atol=1e-4, rtol=1e-4)


def test_doubling_and_halving_are_torchs_forwards_and_backwards():
    torch.manual_seed(0)
    low, skip = (torch.randn(1, c, *grid).requires_grad_() for c, grid in ((5, (2, 3, 2)), (3, (4, 6, 4))))
    joined = torch.cat([F.interpolate(low, scale_factor=2, mode="trilinear"), skip], 1)
    expected = F.max_pool3d(joined, 2)
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    mine = [as_map(t.detach()).contiguous().requires_grad_() for t in (low, skip)]
    made = maps.halved(maps.joined(*mine))
    made.backward(as_map(gradient).contiguous())
    torch.testing.assert_close(made, as_map(expected), atol=1e-5, rtol=1e-5)
    for one, other in zip(mine, (low, skip), strict=True):
        torch.testing.assert_close(one.grad, as_map(other.grad), atol=1e-5, rtol=1e-5)


def test_a_map_too_large_for_the_kernels_is_told_as_a_shortage_of_memory():
    with pytest.raises(MemoryError, match="use a smaller window"):
        maps.blocks(2**31)


def test_a_learner_on_a_card_learns_what_its_network_learns_and_keeps_its_parameters():
    torch.manual_seed(0)
    net = build("sepnet", classes=3, width=4)
    on_card = OnCard(forms.trainable_form(net), bf16=False, alone=False)
    assert {id(p) for p in on_card.parameters()} == {id(p) for p in net.parameters()}
    image = torch.rand(1, 1, 8, 8, 16)
    torch.testing.assert_close(on_card(image), net(image), atol=2e-3, rtol=1e-3)
    assert learner(net, torch.device("cpu"), bf16=False, alone=True) is net


def test_without_triton_and_for_a_family_without_a_form_the_network_runs_as_it_is(monkeypatch):
    net = build("sepnet", classes=3, width=4)
    assert forms.form_of(build("gtv", classes=2, widths=(2, 4, 4, 4, 4)), torch.float32) == (None, "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert forms.form_of(net, torch.float32) == (None, "Triton is not installed")
    assert forms.trainable_form(net) is None


def test_a_triton_that_cannot_compile_is_told_and_the_network_is_as_it_was(monkeypatch):
    net = build("sepnet", classes=3, width=4).eval().requires_grad_(False)
    image = torch.rand(1, 1, 8, 8, 16)
    expected = net(image)

    def broken(*_):
        raise RuntimeError("ptxas: unknown architecture sm_999")

    monkeypatch.setattr(maps, "moments", broken)
    form, trouble = forms.form_of(net, torch.float16)
    assert form is None
    assert trouble == "Triton cannot compile here: ptxas: unknown architecture sm_999"
    torch.testing.assert_close(net(image), expected)
    assert all(p.dtype == torch.float32 for p in net.parameters())
