"""The network families, by name."""

from torch import nn

from rtseg_daemon.networks.sepnet import SepNet3D

FAMILIES: dict[str, type[nn.Module]] = {"sepnet": SepNet3D}


def build(family: str, **arguments: object) -> nn.Module:
    """A network of `family` with random weights; raises KeyError for a family that is not known."""
    return FAMILIES[family](**arguments)
