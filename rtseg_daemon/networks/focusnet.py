"""FocusNet: segment, localise the small organs, look at each again in a box of its own (its paper's Figs. 1 and 2).

Where a box lies is a tensor computed from the image, never a Python number, so that a traced or converted network
moves its boxes with the patient.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rtseg_daemon.networks.blocks import SEResidual, Triple, conv_norm_leaky

DILATIONS = (3, 6, 12, 18)
OUTSIDE = -15.0
"""Log-odds of a small organ outside its box (p = 3e-7): nearly none, yet a loss there stays finite."""
NOWHERE = -3.0
"""SOL-Net's first bias: heat near 0, as nearly everywhere in the targets, instead of 0.5 to be unlearned everywhere."""


class Parts(NamedTuple):
    """What the three networks say, for losses of their own.

    `semantic`: logits of S-Net `(batch, classes, z, y, x)`. `heat`: in [0, 1] `(batch, small, z, y, x)`.
    `roi`: per small organ the logits in its box `(batch, 1, bz, by, bx)`. `starts`: per small organ the box's first
    voxel `(batch, 3)` in (z, y, x), integers.
    """

    semantic: Tensor
    heat: Tensor
    roi: list[Tensor]
    starts: list[Tensor]


class DenseAspp(nn.Module):
    """Dilated convolutions, each fed by all before it, dilated within the slice only (slices are far apart)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        growth = max(1, channels // 4)
        self.layers = nn.ModuleList(
            nn.Sequential(
                conv_norm_leaky(channels + i * growth, channels // 2, 1),
                conv_norm_leaky(channels // 2, growth, 3, dilation=(1, dilation, dilation)),
            )
            for i, dilation in enumerate(DILATIONS)
        )
        self.merge = conv_norm_leaky(channels + len(DILATIONS) * growth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        out: Tensor = self.merge(x)
        return out


class SNet(nn.Module):
    """SE residual U-Net with one down-sampling, `widths[0]` on the full grid, the others on the halved one.

    Returns logits, the decoder's last features and the encoder's first, the two of `widths[0]` channels each.
    """

    def __init__(self, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        first, second, *deeper = widths
        self.first = SEResidual(1, first)
        self.pool = nn.MaxPool3d(2)
        below = [second, *deeper]
        self.encoder = nn.ModuleList(SEResidual(i, o) for i, o in zip([first, *below[:-1]], below, strict=True))
        self.aspp = DenseAspp(below[-1])
        mirrored = zip(reversed(below[1:]), reversed(below[:-1]), strict=True)
        self.decoder = nn.ModuleList(SEResidual(i + o, o) for i, o in mirrored)
        self.up = nn.ConvTranspose3d(second, first, 2, stride=2)
        self.last = SEResidual(2 * first, first)
        self.head = nn.Conv3d(first, classes, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        early = self.first(image)
        x = self.pool(early)
        levels: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            levels.append(x)
        x = self.aspp(x)
        for block, skip in zip(self.decoder, reversed(levels[:-1]), strict=True):
            x = block(torch.cat([x, skip], dim=1))
        late = self.last(torch.cat([self.up(x), early], dim=1))
        return self.head(late), late, early


def two_blocks(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """SOL-Net and SOS-Net alike: two SE residual blocks and a 1x1x1 convolution."""
    return nn.Sequential(SEResidual(inputs, width), SEResidual(width, width), nn.Conv3d(width, outputs, 1))


def peak(scores: Tensor) -> Tensor:
    """Position `(batch, 3)` of the maximum of `scores` `(batch, z, y, x)`, the first where several are equal.

    One axis after the other: a flat index would have to be divided again, which a converted network may do in
    floating point.
    """
    z = scores.amax((2, 3)).argmax(1)
    plane = taken(scores, z)
    y = plane.amax(2).argmax(1)
    x = taken(plane, y).argmax(1)
    return torch.stack([z, y, x], dim=1)


def taken(values: Tensor, index: Tensor) -> Tensor:
    """`values[i, index[i]]` for every i of the batch."""
    shape = (-1, 1, *([1] * (values.ndim - 2)))
    picked: Tensor = values.gather(1, index.reshape(shape).expand(-1, 1, *values.shape[2:]))
    return picked.squeeze(1)


def first_voxel(centre: Tensor, box: Triple, volume: Tensor) -> Tensor:
    """First voxel `(batch, 3)` of the box around `centre`, moved as far as it must be to lie in the volume."""
    firsts = (centre[:, i] - side // 2 for i, side in enumerate(box))
    ends = (length - side for length, side in zip(volume.shape[2:], box, strict=True))
    return torch.stack([f.clamp(min=0).clamp(max=end) for f, end in zip(firsts, ends, strict=True)], dim=1)


def box_voxels(starts: Tensor, box: Triple, volume: Tensor) -> Tensor:
    """Flat index `(batch, voxels)` of every voxel in the box at each of `starts` `(batch, 3)` of the volume."""
    z, y, x = (torch.arange(side, device=starts.device) + starts[:, i, None] for i, side in enumerate(box))
    index = (z[:, :, None, None] * volume.shape[3] + y[:, None, :, None]) * volume.shape[4] + x[:, None, None, :]
    return index.flatten(1)


def cut(volume: Tensor, voxels: Tensor, box: Triple) -> Tensor:
    """The box's part of `(batch, channels, z, y, x)`."""
    flat = volume.flatten(2)
    index = voxels[:, None].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).reshape(-1, flat.shape[1], *box)


def pasted(roi: Tensor, voxels: Tensor, like: Tensor) -> Tensor:
    """`roi` `(batch, 1, bz, by, bx)` at its place in a volume shaped like `like`, `OUTSIDE` around it."""
    canvas = torch.full_like(like, OUTSIDE)
    return canvas.flatten(1).scatter(1, voxels, roi.to(canvas.dtype).flatten(1)).view_as(like)


def fuse(semantic: Tensor, organs: Sequence[Tensor], small: Sequence[int]) -> Tensor:
    """S-Net's logits with those of the small organs `small` replaced.

    `organs` holds each small organ's log-odds `(batch, z, y, x)` against everything else. Added to the logarithm of
    the others' sum they make the softmax give sigmoid(log-odds) to the organ and the rest to the others in S-Net's
    proportions. Where boxes overlap, the odds compete.
    """
    others = [c for c in range(semantic.shape[1]) if c not in small]
    semantic = semantic.float()
    rest = semantic[:, others].logsumexp(1)
    channels = list(semantic.unbind(1))
    for channel, odds in zip(small, organs, strict=True):
        channels[channel] = rest + odds
    return torch.stack(channels, dim=1)


class FocusNet(nn.Module):
    """S-Net for all classes, SOL-Net for the small organs' places, one SOS-Net per small organ in its box.

    Args:
        classes: output channels, background included.
        small: channels of the small organs.
        boxes: their boxes' sides, three numbers (z, y, x) in voxels for each (paper: 3 mean diameters).
        widths: channels of S-Net on the full grid, then on the halved one. SOL and SOS take the first.

    Input `(batch, 1, z, y, x)`, each side even and no box longer. Output: logits `(batch, classes, z, y, x)`, in which
    S-Net's small organs have no part. Raises ValueError if `boxes` does not fit `small`, or a volume is smaller than
    a box. Instance norm: see `SEResidual`.
    """

    def __init__(
        self, classes: int, small: Sequence[int], boxes: Sequence[int], widths: Sequence[int] = (24, 32, 48, 64)
    ) -> None:
        super().__init__()
        if len(boxes) != 3 * len(small):
            raise ValueError(f"focusnet has {len(small)} small organs and {len(boxes)} box sides; give three for each")
        if len(set(small)) != len(small) or not all(0 < c < classes for c in small) or len(small) > classes - 1:
            raise ValueError(
                f"focusnet's small organs {list(small)} must be different channels from 1 to {classes - 1}"
            )
        self.small = tuple(small)
        self.boxes: list[Triple] = [(boxes[i], boxes[i + 1], boxes[i + 2]) for i in range(0, len(boxes), 3)]
        first = widths[0]
        self.snet = SNet(classes, widths)
        self.sol = two_blocks(first, first, len(small))
        nn.init.constant_(self.sol.get_parameter("2.bias"), NOWHERE)
        self.sos = nn.ModuleList(two_blocks(2 * first + 2, first, 1) for _ in small)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.parts(x)
        organs = [
            pasted(roi, box_voxels(starts, box, x), x[:, 0])
            for roi, starts, box in zip(parts.roi, parts.starts, self.boxes, strict=True)
        ]
        return fuse(parts.semantic, organs, self.small)

    def parts(self, x: Tensor, centres: Tensor | None = None) -> Parts:
        """All that the losses need.

        `centres` `(batch, small, 3)` in voxels (z, y, x) places the boxes where it is neither NaN nor negative.
        Elsewhere, and without it, the heat map's maximum does.
        """
        self._check(x)
        semantic, late, early = self.snet(x)
        scores = self.sol(late)
        heat = torch.sigmoid(scores)
        roi: list[Tensor] = []
        starts: list[Tensor] = []
        for i, (net, box) in enumerate(zip(self.sos, self.boxes, strict=True)):
            centre = peak(scores[:, i])
            if centres is not None:
                centre = torch.where(centres[:, i] >= 0, centres[:, i].nan_to_num(0).round().long(), centre)
            starts.append(first_voxel(centre, box, x))
            voxels = box_voxels(starts[-1], box, x)
            views = (late, x, early, heat[:, i : i + 1])
            roi.append(net(torch.cat([cut(view.to(late.dtype), voxels, box) for view in views], dim=1)))
        return Parts(semantic, heat, roi, starts)

    def _check(self, x: Tensor) -> None:
        if torch._C._get_tracing_state() is not None:
            return
        for box in self.boxes:
            if any(side > length for side, length in zip(box, x.shape[2:], strict=True)):
                raise ValueError(
                    f"a window of {tuple(x.shape[2:])} voxels cannot hold focusnet's box {box}; enlarge it"
                )
