"""AnatomyNet: a whole volume in one pass, one down-sampling, squeeze-and-excitation residual blocks (its Fig. 1).

Only the first encoder block halves the grid, so that organs of a few slices are still there in the deepest layer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rtseg_daemon.networks.blocks import SEResidual, conv_norm_leaky

LAST = 16


class AnatomyNet(nn.Module):
    """Encoder of two SE residual blocks per width, its mirror as decoder, and the raw image again before the output.

    The encoder's first block halves the grid. Its mirror is the transposed convolution, so the decoder's last width
    has one block. With the paper's widths and 10 classes these are 0.75 M parameters (0.73 M reported).
    Instance norm: see `SEResidual`.

    Args:
        classes: output channels, background included.
        widths: channels of the encoder's levels.

    Input `(batch, 1, z, y, x)`, each side even. Output: logits `(batch, classes, z, y, x)`.
    """

    def __init__(self, classes: int, widths: Sequence[int] = (28, 30, 32, 34)) -> None:
        super().__init__()
        first, *deeper = widths
        self.encoder = nn.ModuleList([nn.Sequential(SEResidual(1, first, stride=2), SEResidual(first, first))])
        for above, width in zip(widths[:-1], deeper, strict=True):
            self.encoder.append(nn.Sequential(SEResidual(above, width), SEResidual(width, width)))
        self.decoder = nn.ModuleList()
        for below, width in zip(reversed(deeper), reversed(widths[:-1]), strict=True):
            blocks = [SEResidual(below + width, width)]
            if len(self.decoder) < len(deeper) - 1:
                blocks.append(SEResidual(width, width))
            self.decoder.append(nn.Sequential(*blocks))
        self.up = nn.ConvTranspose3d(first, first, 2, stride=2)
        self.last = conv_norm_leaky(first + 1, LAST, 3)
        self.head = nn.Conv3d(LAST, classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = image
        levels: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            levels.append(x)
        for block, skip in zip(self.decoder, reversed(levels[:-1]), strict=True):
            x = block(torch.cat([x, skip], dim=1))
        logits: Tensor = self.head(self.last(torch.cat([self.up(x), image], dim=1)))
        return logits
