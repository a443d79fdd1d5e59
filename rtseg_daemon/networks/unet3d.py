"""The 3D U-Nets that 3D-SepNet is compared with (SepNet's paper, Table 2): plain, residual, squeeze-and-excitation.

Topology, widths and skips are SepNet's (Fig. 5), every convolution of a block is 3x3x3. With 48 base channels and 23
classes that is 8.7 M parameters; the paper reports 9.2 M for its 3D U-Net and about a third for SepNet.
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from rtseg_daemon.networks.blocks import Excite
from rtseg_daemon.networks.sepnet import conv_norm_relu

Kind = Literal["plain", "residual", "se"]
KINDS = ("plain", "residual", "se")
CONVOLUTIONS = 4


class Block(nn.Module):
    """Four 3x3x3 convolutions; `residual` adds a 1x1x1 convolution around them, `se` also weights their channels."""

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


class UNet3D(nn.Module):
    """SepNet's counterpart of 3x3x3 convolutions.

    Args:
        classes: output channels, background included.
        width: base width n (48 in the paper).
        kind: `plain`, `residual` (shortcut around each block) or `se` (shortcut, squeeze-and-excitation).

    Input `(batch, 1, z, y, x)` in [0, 1], each side a multiple of 8; output logits `(batch, classes, z, y, x)`.
    Raises ValueError for an unknown kind.
    """

    def __init__(self, classes: int, width: int = 48, kind: Kind = "plain") -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"unet3d has no kind {kind!r}; choose one of {', '.join(KINDS)}")
        n = width

        def pair(inputs: int, middle: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(Block(inputs, middle, kind), Block(middle, outputs, kind))

        self.encoder = nn.ModuleList([Block(1, n, kind), Block(n, n, kind), Block(n, 2 * n, kind)])
        self.bottom = pair(2 * n, 4 * n, 2 * n)
        self.decoder = nn.ModuleList([pair(4 * n, 2 * n, n), pair(2 * n, n, n), pair(2 * n, n, n)])
        self.pool = nn.MaxPool3d(2)
        self.up = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)
        self.head = nn.Conv3d(n, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = block(torch.cat([self.up(x), skip], dim=1))
        logits: Tensor = self.head(x)
        return logits
