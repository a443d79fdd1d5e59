"""AnatomyNet for a card: maps `(n, z, y, x, channels)`, channels filled up to multiples of eight for the tensor cores.

What is filled up stays zero all the way: its weights, norms and biases are zero.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtseg_daemon.networks.anatomynet import AnatomyNet
from rtseg_daemon.networks.blocks import SLOPE, SEResidual
from rtseg_daemon.segment.engines.forms.maps import affine, conv_cubes, linear, moments


def filled(channels: int) -> int:
    """The next multiple of eight."""
    return -(-channels // 8) * 8


def grown(values: Tensor, axis: int, parts: Sequence[int]) -> Tensor:
    """`values` with zeros along `axis` after each of its `parts`, so that each begins at a multiple of eight."""
    pieces = []
    for piece in values.split(list(parts), axis):
        shape = list(piece.shape)
        shape[axis] = filled(piece.shape[axis]) - piece.shape[axis]
        pieces += [piece, piece.new_zeros(shape)]
    return torch.cat(pieces, axis)


class Residual(nn.Module):
    """An SE residual block: two convolutions, norm, excitation, shortcut and leaky ReLU. Map in, map out.

    Args:
        block: the network's own.
        parts: channels of each map that the input was joined from.
    """

    def __init__(self, block: SEResidual, parts: Sequence[int]) -> None:
        super().__init__()
        layers: Any = block.first
        excitation: Any = block.excite.weights
        conv, norm = layers[0], layers[1]
        width = [conv.out_channels]
        self.stride = conv.stride[0]
        alone = list(parts) == [1]  # the image is no map of eight channels
        into = (lambda w: w) if alone else (lambda w: grown(w, 1, parts))
        self.first, self.second = (
            grown(into(conv.weight), 0, width),
            grown(grown(block.second.weight, 1, width), 0, width),
        )
        self.norms = [grown(v, 0, width) for v in (norm.weight, norm.bias, block.norm.weight, block.norm.bias)]
        squeeze, excite = excitation[0], excitation[2]
        self.squeeze = (grown(squeeze.weight, 1, width), squeeze.bias)
        self.excite = (grown(excite.weight, 0, width), grown(excite.bias, 0, width))
        self.shortcut = None
        if isinstance(block.shortcut, nn.Conv3d):
            bias = block.shortcut.bias
            assert bias is not None
            self.shortcut = (grown(into(block.shortcut.weight), 0, width), grown(bias, 0, width))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, last_weight, last_bias = self.norms
        made = conv_cubes(x, self.first.to(x.dtype), self.stride)
        norm = moments(made, weight, bias)
        made = conv_cubes(affine(made, norm[2], norm[3], made, SLOPE), self.second.to(x.dtype))
        norm = moments(made, last_weight, last_bias)
        strength = torch.sigmoid(F.linear(F.relu(F.linear(norm[0], *self.squeeze)), *self.excite))
        beside = x
        if self.shortcut is not None:
            beside = x if self.stride == 1 else x[:, :: self.stride, :: self.stride, :: self.stride]
            weight, bias = self.shortcut
            beside = linear(beside, weight.to(x.dtype), bias.to(x.dtype))
        return affine(made, norm[2] * strength, norm[3] * strength, made, SLOPE, before=beside)


class AnatomyNetForm(nn.Module):
    """What a loaded AnatomyNet computes. It cannot learn.

    Input `(n, 1, z, y, x)`, each side even. Output: logits `(n, classes, z, y, x)`.
    """

    def __init__(self, net: AnatomyNet) -> None:
        super().__init__()
        encoder: Any = net.encoder
        decoder: Any = net.decoder
        levels = [list(level) for level in encoder]
        widths = [level[-1].second.out_channels for level in levels]
        inputs = [1, *widths[:-1]]
        self.encoder = [
            [Residual(block, [i] if n == 0 else [o]) for n, block in enumerate(level)]
            for level, i, o in zip(levels, inputs, widths, strict=True)
        ]
        self.decoder = []
        mirrored = zip(decoder, reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        for level, below, width in mirrored:
            self.decoder.append([Residual(b, [below, width] if n == 0 else [width]) for n, b in enumerate(level)])
        self.first = widths[0]
        last: Any = net.last
        up, conv, norm = net.up, last[0], last[1]
        assert up.bias is not None
        assert net.head.bias is not None
        room = filled(self.first + 1)  # the image comes after the channels of the map
        self.up = (
            F.pad(grown(up.weight, 0, [self.first]), (0, 0, 0, 0, 0, 0, 0, room - self.first)),
            F.pad(up.bias, (0, room - self.first)),
        )
        self.last = F.pad(conv.weight, (0, 0, 0, 0, 0, 0, 0, room - self.first - 1))
        self.norm = (norm.weight, norm.bias)
        self.classes = net.head.out_channels
        self.head = (grown(net.head.weight, 0, [self.classes]), grown(net.head.bias, 0, [self.classes]))

    def forward(self, image: Tensor) -> Tensor:
        n, _, *grid = image.shape
        picture = image.reshape(n, *grid, 1)
        x = picture
        skips: list[Tensor] = []
        for level in self.encoder:
            for block in level:
                x = block(x)
            skips.append(x)
        skips.pop()
        for level in self.decoder:
            x = torch.cat([x, skips.pop()], dim=4)
            for block in level:
                x = block(x)
        dtype = image.dtype
        wide = F.conv_transpose3d(x.permute(0, 4, 1, 2, 3), self.up[0].to(dtype), self.up[1].to(dtype), stride=2)
        x = wide.contiguous(memory_format=torch.channels_last_3d).permute(0, 2, 3, 4, 1)
        x[..., self.first : self.first + 1] = picture
        x = conv_cubes(x, self.last.to(dtype))
        norm = moments(x, *self.norm)
        x = conv_cubes(affine(x, norm[2], norm[3], x, SLOPE), self.head[0].to(dtype)) + self.head[1].to(dtype)
        return x[..., : self.classes].permute(0, 4, 1, 2, 3).contiguous()
