"""What a processor does in another way while it trains has the values and gradients of torch's own layer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rtseg_daemon.networks.quick import AlongZ, VolumeNorm

LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])


def along_z() -> tuple[nn.Module, nn.Module]:
    size, padding = (3, 1, 1), (1, 0, 0)
    return AlongZ(3, 3, size, padding=padding, bias=False), nn.Conv3d(3, 3, size, padding=padding, bias=False)


def volume_norm() -> tuple[nn.Module, nn.Module]:
    return VolumeNorm(3, affine=True), nn.InstanceNorm3d(3, affine=True)


def both(pair: tuple[nn.Module, nn.Module], x: Tensor) -> list[list[Tensor]]:
    """Of ours and of the plain layer, with the same parameters: output, gradients of input and of parameters."""
    for parameter in pair[1].parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    pair[0].load_state_dict(pair[1].state_dict())
    seen = []
    for net in pair:
        own = x.clone().requires_grad_()
        out = net(own)
        out.float().pow(3).sum().backward()
        gradients = [own.grad, *(p.grad for p in net.parameters())]
        seen.append([out, *(g for g in gradients if g is not None)])
    return seen


@LAYOUTS
@pytest.mark.parametrize("volumes", [1, 2])
@pytest.mark.parametrize("pair", [along_z, volume_norm])
def test_values_and_gradients_are_those_of_the_plain_layer(
    pair: Callable[[], tuple[nn.Module, nn.Module]], volumes: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(1)
    ours, plain = both(pair(), torch.rand(volumes, 3, 6, 4, 7).contiguous(memory_format=layout))
    assert len(ours) == len(plain) > 2
    torch.testing.assert_close(ours, plain)


@LAYOUTS
def test_in_bf16_the_norm_of_a_volume_keeps_its_layout_and_differs_by_rounding(layout: torch.memory_format) -> None:
    torch.manual_seed(1)
    x = torch.rand(1, 3, 12, 10, 14, dtype=torch.bfloat16).contiguous(memory_format=layout)
    ours, plain = both(volume_norm(), x)
    assert ours[0].is_contiguous(memory_format=layout)
    torch.testing.assert_close(ours, plain, rtol=0.02, atol=0.02 * float(plain[1].abs().max()))


def test_inference_takes_torchs_own_form(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a form for training")

    monkeypatch.setattr("torch.nn.functional.conv2d", refuse)
    monkeypatch.setattr("torch.nn.functional.batch_norm", refuse)
    x = torch.rand(1, 3, 6, 4, 7)
    assert along_z()[0].eval()(x).shape == x.shape
    assert volume_norm()[0].eval()(x.bfloat16()).shape == x.shape
