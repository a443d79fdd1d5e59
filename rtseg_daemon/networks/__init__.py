"""The network families, by name."""

from torch import nn

from rtseg_daemon.networks.anatomynet import AnatomyNet
from rtseg_daemon.networks.focusnet import FocusNet
from rtseg_daemon.networks.gtv import GtvNet
from rtseg_daemon.networks.sepnet import SepNet3D
from rtseg_daemon.networks.unet3d import UNet3D

FAMILIES: dict[str, type[nn.Module]] = {
    "sepnet": SepNet3D,
    "unet3d": UNet3D,
    "gtv": GtvNet,
    "anatomynet": AnatomyNet,
    "focusnet": FocusNet,
}

DIVISOR: dict[str, tuple[int, int, int]] = {
    "sepnet": (8, 8, 8),
    "unet3d": (8, 8, 8),
    "gtv": (1, 8, 8),
    "anatomynet": (2, 2, 2),
    "focusnet": (2, 2, 2),
}
"""What each side (z, y, x) of a window must be a multiple of."""


def build(family: str, **arguments: object) -> nn.Module:
    """A network of `family` with random weights; raises KeyError for a family that is not known."""
    return FAMILIES[family](**arguments)
