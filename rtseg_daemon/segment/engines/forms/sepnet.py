"""3D-SepNet for a card: 2D convolutions on maps `(n, z, y, x, channels)`, norm, ReLU and shortcut in one kernel."""

from typing import Any

from torch import Tensor, nn

from rtseg_daemon.networks.sepnet import SepNet3D
from rtseg_daemon.segment.engines.forms.maps import conv_columns, conv_slices, halved, joined, linear, norm_relu


class SepNetForm(nn.Module):
    """What a SepNet computes, from its own parameters: they stay where they are, and learn here as they do there.

    Input `(n, 1, z, y, x)`, each side a multiple of 8. Output: logits `(n, classes, z, y, x)`. Convolutions run in the
    type of the input, norms take float32 weights.
    """

    def __init__(self, net: SepNet3D) -> None:
        super().__init__()
        self.net: Any = net

    def forward(self, image: Tensor) -> Tensor:
        n, _, *grid = image.shape
        x = image.reshape(n, *grid, 1)
        skips: list[Tensor] = []
        for block in self.net.encoder:
            skips.append(separated(block, x))
            x = halved(skips[-1])
        for block in self.net.bottom:
            x = separated(block, x)
        for pair in self.net.decoder:
            x = joined(x, skips.pop())
            for block in pair:
                x = separated(block, x)
        head = self.net.head
        weight = head.weight.reshape(head.weight.shape[:2]).to(x.dtype)
        # classes first in memory, as whoever reads one class after the other wants them
        logits = weight @ x.reshape(n, -1, x.shape[4]).transpose(1, 2) + head.bias.to(x.dtype)[:, None]
        answer: Tensor = logits.reshape(n, -1, *grid)
        return answer


def separated(block: Any, x: Tensor) -> Tensor:
    """A `SeparatedBlock`: three convolutions within the slices, one through them, a 1x1x1 convolution around all."""
    shortcut = block.shortcut
    after = linear(x, shortcut.weight.to(x.dtype), shortcut.bias.to(x.dtype))
    *within, through = block.body
    for layer in within:
        conv, norm = layer[0], layer[1]
        x = norm_relu(conv_slices(x, conv.weight.to(x.dtype)), norm.weight, norm.bias)
    conv, norm = through[0], through[1]
    return norm_relu(conv_columns(x, conv.weight.to(x.dtype)), norm.weight, norm.bias, after)
