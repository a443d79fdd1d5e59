"""What every network family owes its callers: shape, gradients, half precision, and the same answer once converted."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rtseg_daemon import networks
from rtseg_daemon.bundles import DIVISOR
from rtseg_daemon.networks import FAMILIES, build
from rtseg_daemon.segment.engines.openvino_library import ov

OWN = str(Path(networks.__file__).parent)
CASES: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("sepnet", {"width": 2}, (8, 16, 24)),
    ("unet3d", {"width": 2}, (8, 16, 24)),
    ("unet3d", {"width": 2, "kind": "residual"}, (8, 16, 24)),
    ("unet3d", {"width": 2, "kind": "se"}, (8, 16, 24)),
    ("gtv", {"widths": [2, 2, 4, 4, 6]}, (3, 8, 16)),
    ("gtv", {"widths": [2, 2, 4, 4, 6], "pe": False, "am": False}, (3, 8, 16)),
    ("anatomynet", {"widths": [2, 3, 4, 5]}, (6, 10, 14)),
    ("focusnet", {"small": [3, 1], "boxes": [2, 4, 6, 3, 3, 5], "widths": [4, 4, 8]}, (6, 10, 14)),
]


def label(case: tuple[str, dict[str, Any], tuple[int, int, int]]) -> str:
    return "-".join([case[0], *(str(value) for value in case[1].values())])


CONVERTED = [case for case in CASES if case[1].get("kind") != "residual" and case[1].get("pe", True)]
every_case = pytest.mark.parametrize(("family", "arguments", "window"), CASES, ids=map(label, CASES))
converted_cases = pytest.mark.parametrize(("family", "arguments", "window"), CONVERTED, ids=map(label, CONVERTED))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(3)


def net_of(family: str, arguments: dict[str, Any]) -> nn.Module:
    return build(family, classes=4, **arguments)


def traced(net: nn.Module, window: tuple[int, int, int]) -> Any:
    """A trace as the engine makes it; fails where our own code let a tensor become a Python value."""
    with warnings.catch_warnings(record=True) as caught, torch.inference_mode():
        warnings.simplefilter("always")
        trace = torch.jit.trace(net, torch.zeros(1, 1, *window), check_trace=False)
    assert [str(w.message) for w in caught if w.filename.startswith(OWN)] == []
    return trace


def test_every_family_has_a_case_and_a_divisor_that_its_case_uses():
    assert {family for family, _, _ in CASES} == set(FAMILIES) == set(DIVISOR)
    for family, _, window in CASES:
        assert all(side % multiple == 0 for side, multiple in zip(window, DIVISOR[family], strict=True))


@every_case
def test_output_has_the_inputs_shape_and_every_parameter_a_finite_gradient(family, arguments, window):
    net = net_of(family, arguments)
    logits = net(torch.rand(2, 1, *window))
    assert logits.shape == (2, 4, *window)
    (logits.softmax(1) * torch.rand_like(logits)).sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_case
def test_16_bit_answers_and_gradients_are_finite(family, arguments, window, dtype):
    net = net_of(family, arguments)
    with torch.autocast("cpu", dtype):
        logits = net(torch.rand(1, 1, *window))
    assert logits.isfinite().all()
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@every_case
def test_sides_that_are_no_multiple_of_the_divisor_are_refused(family, arguments, window):
    net = net_of(family, arguments).eval()
    for axis, multiple in enumerate(DIVISOR[family]):
        if multiple > 1:
            odd = list(window)
            odd[axis] += 1
            with pytest.raises(RuntimeError):
                net(torch.rand(1, 1, *odd))


@converted_cases
def test_trace_and_converted_model_answer_as_the_network_does_on_another_image(family, arguments, window):
    net = net_of(family, arguments).eval()
    image = torch.rand(1, 1, *window)
    trace = traced(net, window)
    with torch.inference_mode():
        expected = net(image)
        torch.testing.assert_close(trace(image), expected, rtol=0, atol=0)
        model = ov.convert_model(trace, input=[([1, 1, *window], ov.Type.f32)])
    run = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    torch.testing.assert_close(torch.from_numpy(run([image.numpy()])[0]), expected, rtol=1e-3, atol=1e-3)
