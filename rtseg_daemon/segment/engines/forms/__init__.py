"""Forms of the networks for a card: the same weights and the same answer, laid out as a card wants them.

A family without a form runs as it is, and so does every family where Triton is missing or cannot compile.
"""

import importlib.util

import torch
from torch import nn

from rtseg_daemon.networks.anatomynet import AnatomyNet
from rtseg_daemon.networks.sepnet import SepNet3D

TRIAL = (1, 1, 16, 16, 16)


def form_of(net: nn.Module, dtype: torch.dtype, tried: bool = False) -> tuple[nn.Module | None, str]:
    """The form of a loaded network that computes in `dtype`. None where there is none, and why.

    It is run once, which compiles its kernels, unless another network like this one was `tried` before.

    The weights of the network's convolutions change to `dtype`, its norms stay float32.
    """
    if not isinstance(net, SepNet3D | AnatomyNet):
        return None, ""
    if not has_triton():
        return None, "Triton is not installed"
    kept = {name: value.clone() for name, value in net.state_dict().items()}
    try:
        for module in net.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                module.to(dtype=dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        form = made_of(net)
        with torch.no_grad():
            if tried:
                return form, ""
            form(torch.zeros(TRIAL, dtype=dtype, device=next(net.parameters()).device))
    except Exception as error:  # noqa: BLE001 - a compiler met on the customer's machine may fail in any way
        net.float().load_state_dict(kept)
        return None, f"Triton cannot compile here: {str(error).strip()[:300] or type(error).__name__}"
    return form, ""


def trainable_form(net: nn.Module) -> nn.Module | None:
    """The form that computes with the parameters of `net` as they are now and passes gradients to them, or None."""
    return made_of(net) if isinstance(net, SepNet3D) and has_triton() else None


def made_of(net: SepNet3D | AnatomyNet) -> nn.Module:
    """The form of a network whose family has one."""
    # triton: only where there is a card
    from rtseg_daemon.segment.engines.forms import anatomynet, sepnet

    return sepnet.SepNetForm(net) if isinstance(net, SepNet3D) else anatomynet.AnatomyNetForm(net)


def has_triton() -> bool:
    """Whether Triton is installed. It comes with torch's builds for CUDA."""
    spec = importlib.util.find_spec("triton")
    return spec is not None and spec.origin is not None


def recorded_for_training(form: nn.Module, image: torch.Tensor) -> nn.Module:
    """`form` with its forward and backward pass recorded as CUDA graphs, for images as large as `image`.

    A small network's kernels are over before the processor has launched the next one: recorded, a training step of
    SepNet takes a quarter of the time. Every image must have the shape and type of this one.
    """
    graphed = torch.cuda.make_graphed_callables(form, (image,))
    assert isinstance(graphed, nn.Module)
    return graphed
