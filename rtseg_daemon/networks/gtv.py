"""The 2.5D network for targets, with project-and-excite and in-plane attention (its paper's Figs. 3 to 5).

Convolutions and pools stay within a slice but for the bottom block, whose 3x3x3 kernels see the neighbours: at
3 mm between slices and 1 mm within, a kernel as long in z would see far more tissue across than along.
Nine blocks take four steps of width, the text has three down-samplings and names no pool size: here pools are 1x2x2,
as the blocks around them keep slices apart, and the step into the bottom block has none. Its parameters are then
4.2 M, as reported.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from rtseg_daemon.networks.blocks import SLOPE

IN_PLANE = (1, 3, 3)
FULL = (3, 3, 3)
POOL = (1, 2, 2)


class ProjectExcite(nn.Module):
    """PE: `X * sigmoid(F2 relu(F1 Z))`, Z the means of X over each two axes, spread and added (eqs. 1 to 5).

    F1 has no bias and so may be applied to the three projections before they are spread, which is the same in exact
    arithmetic and spares a full map of all channels.
    """

    def __init__(self, channels: int, d: int = 2) -> None:
        super().__init__()
        self.f1 = nn.Conv3d(channels, channels // d, 1, bias=False)
        self.f2 = nn.Conv3d(channels // d, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        z = self.f1(x.mean((3, 4), keepdim=True))
        y = self.f1(x.mean((2, 4), keepdim=True))
        row = self.f1(x.mean((2, 3), keepdim=True))
        out: Tensor = x * torch.sigmoid(self.f2(torch.relu(z + y + row)))
        return out


class PlaneAttention(nn.Module):
    """AM: `a x + x`, `a` one channel in [0, 1] from two 1x3x3 convolutions (Fig. 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        padding = (0, 1, 1)
        self.attention = nn.Sequential(
            nn.Conv3d(channels, channels // 2, IN_PLANE, padding=padding),
            nn.ReLU(inplace=True),
            nn.Conv3d(channels // 2, 1, IN_PLANE, padding=padding),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x) * x + x
        return out


def two_convolutions(inputs: int, outputs: int, kernel: tuple[int, int, int]) -> nn.Sequential:
    """Twice: convolution that keeps the shape, batch norm, leaky ReLU."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv3d(channels, outputs, kernel, padding=padding, bias=False),
            nn.BatchNorm3d(outputs),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
    return nn.Sequential(*layers)


class GtvNet(nn.Module):
    """Nine blocks: PE before all but the first, AM before PE in the bottom and the decoder.

    Args:
        classes: output channels, background included.
        widths: channels of the five levels, 4.2 M parameters with the paper's.
        pe, am: leave the modules out for the comparison of the paper's Table 1.

    Input `(batch, 1, z, y, x)` normalised, y and x multiples of 8. Output: logits `(batch, classes, z, y, x)`.
    Batch norm: in training `batch * z * y * x` of a window divided by 64 must exceed 1.
    """

    def __init__(
        self, classes: int, widths: Sequence[int] = (16, 32, 64, 128, 256), pe: bool = True, am: bool = True
    ) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, attends: bool, kernel: tuple[int, int, int] = IN_PLANE) -> nn.Sequential:
            before: list[nn.Module] = [PlaneAttention(inputs)] if am and attends else []
            before += [ProjectExcite(inputs)] if pe else []
            return nn.Sequential(*before, two_convolutions(inputs, outputs, kernel))

        *outer, deepest, bottom = widths
        self.first = two_convolutions(1, widths[0], IN_PLANE)
        steps = pairwise(widths[:-1])
        self.encoder = nn.ModuleList([block(above, width, False) for above, width in steps])
        self.bottom = block(deepest, bottom, True, FULL)
        levels = [deepest, *reversed(outer)]
        self.up = nn.ModuleList([nn.ConvTranspose3d(bottom, deepest, 1)])
        for below, width in pairwise(levels):
            self.up.append(nn.ConvTranspose3d(below, width, POOL, stride=POOL))
        self.decoder = nn.ModuleList([block(2 * width, width, True) for width in levels])
        self.pool = nn.MaxPool3d(POOL)
        self.head = nn.Conv3d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.first(x)]
        for block in self.encoder:
            levels.append(block(self.pool(levels[-1])))
        x = self.bottom(levels[-1])
        for up, block, skip in zip(self.up, self.decoder, reversed(levels), strict=True):
            x = block(torch.cat([up(x), skip], dim=1))
        logits: Tensor = self.head(x)
        return logits
