"""The 3D U-Nets that 3D-SepNet is compared with (SepNet's paper, Table 2): plain, residual, squeeze-and-excitation.

Topology, widths and skips are SepNet's (Fig. 5), every convolution of a block is 3x3x3. With 48 base channels and 23
classes that is 8.7 M parameters. The paper reports 9.2 M for its 3D U-Net and about a third for SepNet.
"""

from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from rtseg_daemon.networks.blocks import Excite
from rtseg_daemon.networks.unet import UNet, conv_norm_relu

Kind = Literal["plain", "residual", "se"]
KINDS = ("plain", "residual", "se")
CONVOLUTIONS = 4


class Block(nn.Module):
    """Four 3x3x3 convolutions. `residual` adds a 1x1x1 convolution around them, `se` also weights their channels."""

    def __init__(self, inputs: int, outputs: int, kind: Kind) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * CONVOLUTIONS
        self.body = nn.Sequential(*(conv_norm_relu(i, o, (3, 3, 3)) for i, o in pairwise(widths)))
        self.excite = Excite(outputs) if kind == "se" else None
        self.shortcut = None if kind == "plain" else nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        if self.excite is not None:
            out = out * self.excite(out.mean((2, 3, 4)))
        return out if self.shortcut is None else out + self.shortcut(x)


class UNet3D(UNet):
    """SepNet's counterpart of 3x3x3 convolutions. See `UNet` for shapes.

    Args:
        classes: output channels, background included.
        width: base width n (48 in the paper).
        kind: `plain`, `residual` (shortcut around each block) or `se` (shortcut, squeeze-and-excitation).

    Raises ValueError for an unknown kind.
    """

    def __init__(self, classes: int, width: int = 48, kind: Kind = "plain") -> None:
        if kind not in KINDS:
            raise ValueError(f"unet3d has no kind {kind!r}; choose one of {', '.join(KINDS)}")
        super().__init__(partial(Block, kind=kind), classes, width)
