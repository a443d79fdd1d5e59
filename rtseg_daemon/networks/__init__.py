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


def build(family: str, **arguments: object) -> nn.Module:
    """A network of `family` with random weights. Raises KeyError for a family that is not known."""
    return FAMILIES[family](**arguments)
