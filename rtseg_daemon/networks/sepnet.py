"""3D-SepNet: a U-Net of spatially separated convolutions (seed paper, Fig. 5).

An intra-slice 1x3x3 convolution sees one CT slice, an inter-slice 3x1x1 convolution sees its neighbours; apart they
need a third of the parameters of a 3x3x3 U-Net of the same base width and suit voxels that are longer than wide.
"""

import torch
from torch import Tensor, nn


def conv_norm_relu(inputs: int, outputs: int, kernel: tuple[int, int, int]) -> nn.Sequential:
    """Convolution that keeps the shape, instance norm, ReLU."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, padding=padding, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.ReLU(inplace=True),
    )


class SeparatedBlock(nn.Module):
    """Three intra-slice and one inter-slice convolution with a 1x1x1 convolution around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm_relu(inputs, outputs, (1, 3, 3)),
            conv_norm_relu(outputs, outputs, (1, 3, 3)),
            conv_norm_relu(outputs, outputs, (1, 3, 3)),
            conv_norm_relu(outputs, outputs, (3, 1, 1)),
        )
        self.shortcut = nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


class SepNet3D(nn.Module):
    """The 11 blocks of Fig. 5: encoder n, n, 2n; bottleneck 4n, 2n; two blocks at each decoder level.

    Args:
        classes: output channels, background included.
        width: the paper's n (48 there).

    Input `(batch, 1, z, y, x)` in [0, 1] (after SLF), each side a multiple of 8; output logits
    `(batch, classes, z, y, x)`.
    """

    def __init__(self, classes: int, width: int = 48) -> None:
        super().__init__()
        n = width
        self.encoder = nn.ModuleList([SeparatedBlock(1, n), SeparatedBlock(n, n), SeparatedBlock(n, 2 * n)])
        self.bottom = nn.Sequential(SeparatedBlock(2 * n, 4 * n), SeparatedBlock(4 * n, 2 * n))
        self.decoder = nn.ModuleList(
            [
                nn.Sequential(SeparatedBlock(4 * n, 2 * n), SeparatedBlock(2 * n, n)),
                nn.Sequential(SeparatedBlock(2 * n, n), SeparatedBlock(n, n)),
                nn.Sequential(SeparatedBlock(2 * n, n), SeparatedBlock(n, n)),
            ]
        )
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
