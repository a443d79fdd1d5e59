"""The U-Net of SepNet's paper (Fig. 5) around any block: 3D-SepNet and the networks that it is compared with."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rtseg_daemon.networks.quick import AlongZ, VolumeNorm


def conv_norm_relu(inputs: int, outputs: int, kernel: tuple[int, int, int]) -> nn.Sequential:
    """Convolution that keeps the shape, instance norm, ReLU."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Sequential(
        (AlongZ if kernel == (3, 1, 1) else nn.Conv3d)(inputs, outputs, kernel, padding=padding, bias=False),
        VolumeNorm(outputs, affine=True),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """The 11 blocks of Fig. 5: encoder n, n, 2n, bottleneck 4n, 2n, two blocks at each decoder level.

    Args:
        block: makes a block from its input and output channels. It keeps the volume's shape.
        classes: output channels, background included.
        width: the paper's n (48 there).

    Input `(batch, 1, z, y, x)` in [0, 1], each side a multiple of 8. Output: logits `(batch, classes, z, y, x)`.
    """

    def __init__(self, block: Callable[[int, int], nn.Module], classes: int, width: int) -> None:
        super().__init__()
        n = width

        def pair(inputs: int, middle: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(block(inputs, middle), block(middle, outputs))

        self.encoder = nn.ModuleList([block(1, n), block(n, n), block(n, 2 * n)])
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
