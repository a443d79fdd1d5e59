"""What the networks' forms for a card are made of: operations on maps that lie as `(n, z, y, x, channels)`.

A map in this layout is the same memory for a 1x3x3 convolution (slices side by side), a 3x1x1 convolution (columns) and
a matrix product, so that no layer copies what another one made. Gradients flow through all of them.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn import functional as F

from rtseg_daemon.segment.engines.forms import kernels

BLOCK = 2048
ROWS = 64

PROGRAMS = 256
"""Partial sums of a norm, at most: two for every multiprocessor of a large card."""

EPS = 1e-5
"""What instance norm adds to the variance: torch's default, with which every network here was trained."""

MOST_ELEMENTS = 2**31
"""Kernels count the elements of one sample's map in 32 bits."""


def blocks(elements: int) -> int:
    """Programs for so many elements of one sample. Raises MemoryError where kernels cannot count them."""
    if elements >= MOST_ELEMENTS:
        raise MemoryError(f"a map of {elements} elements is too large for the card's kernels; use a smaller window")
    return int(triton.cdiv(elements, BLOCK))


def row_of(x: Tensor) -> int:
    """Elements from one voxel to the next: more than the channels where `x` is the part of a wider map."""
    return x.stride(3)


def conv_slices(x: Tensor, weight: Tensor) -> Tensor:
    """A 1x3x3 convolution that keeps the shape: every slice is an image. `weight` `(out, in, 1, 3, 3)`."""
    n, z, y, w, c = x.shape
    images = x.reshape(n * z, y, w, c).permute(0, 3, 1, 2)
    return as_map(F.conv2d(images, weight[:, :, 0], padding=1), (n, z, y, w))


def conv_columns(x: Tensor, weight: Tensor) -> Tensor:
    """A 3x1x1 convolution that keeps the shape: an image of z by y * x. `weight` `(out, in, 3, 1, 1)`."""
    n, z, y, w, c = x.shape
    images = x.reshape(n, z, y * w, c).permute(0, 3, 1, 2)
    return as_map(F.conv2d(images, weight[:, :, :, :, 0], padding=(1, 0)), (n, z, y, w))


def conv_cubes(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """A 3x3x3 convolution. `weight` is `(out, in, 3, 3, 3)`."""
    made = F.conv3d(x.permute(0, 4, 1, 2, 3), weight, stride=stride, padding=1)
    return made.contiguous(memory_format=torch.channels_last_3d).permute(0, 2, 3, 4, 1)


def as_map(made: Tensor, shape: Sequence[int]) -> Tensor:
    """The answer of a 2D convolution as a map of `shape` (n, z, y, x).

    With one input channel torch may answer in the other layout: it is asked for this one first.
    """
    made = made.contiguous(memory_format=torch.channels_last)
    return made.permute(0, 2, 3, 1).reshape(*shape, made.shape[1])


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 1x1x1 convolution. `weight` is `(out, in, 1, 1, 1)`."""
    return F.linear(x, weight.reshape(weight.shape[:2]), bias)


def sums_of(partial: Tensor, c: int) -> Tensor:
    """The two sums `(n, 2, channels)` of programs' partial ones `(n, programs, 2, padded channels)`."""
    return partial.sum(1)[:, :, :c]


def partial_sums(x: Tensor) -> tuple[Tensor, int, int]:
    """Room for partial sums over the positions of `x`, how many programs make them, and each one's share."""
    positions, padded = x.shape[1] * x.shape[2] * x.shape[3], max(16, triton.next_power_of_2(x.shape[4]))
    blocks(positions * row_of(x))
    each = triton.cdiv(triton.cdiv(positions, PROGRAMS), ROWS) * ROWS
    programs = triton.cdiv(positions, each)
    room = torch.empty((x.shape[0], programs, 2, padded), dtype=torch.float32, device=x.device)
    return room, programs, each


def moments(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean, 1 / sd, and the instance norm of `x` as scale and shift: `(4, n, channels)` float32."""
    n, c, positions = x.shape[0], x.shape[4], x.shape[1] * x.shape[2] * x.shape[3]
    partial, programs, each = partial_sums(x)
    padded = partial.shape[3]
    kernels.moments_kernel[(programs, n)](x, partial, positions, each, STRIDE=row_of(x), C=c, CP=padded, ROWS=ROWS)
    out = torch.empty((4, n, c), dtype=torch.float32, device=x.device)
    kernels.finish_norm_kernel[(n,)](
        partial, weight, bias, out[0], out[1], out[2], out[3], programs, positions, EPS, C=c, CP=padded, ROWS=32
    )
    return out


def affine(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    out: Tensor,
    slope: float = 0.0,
    before: Tensor | None = None,
    after: Tensor | None = None,
) -> Tensor:
    """`act(scale * x + shift + before) + after` into `out`, which may be `x`, or the part of a wider map.

    `act(v)` is v where v > 0, else `slope * v`. `scale` and `shift` are `(n, channels)`. One of `before` and `after`.
    """
    n, c, positions = x.shape[0], x.shape[4], x.shape[1] * x.shape[2] * x.shape[3]
    other = before if before is not None else after if after is not None else x
    kernels.affine_kernel[(blocks(positions * c), n)](
        x, scale, shift, other, out, positions, slope, X_STRIDE=row_of(x), OUT_STRIDE=row_of(out), C=c,
        BEFORE=before is not None, AFTER=after is not None, BLOCK=BLOCK, num_warps=8,
    )  # fmt: skip
    return out


class NormRelu(torch.autograd.Function):
    """Instance norm, ReLU, and the shortcut that is added after it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, after: Tensor | None) -> Tensor:
        norm = moments(x, weight, bias)
        ctx.save_for_backward(x, norm)
        ctx.shortcut = after is not None
        # nobody asks for `x` again where no gradient will: its memory takes the answer
        out = torch.empty_like(x) if any(ctx.needs_input_grad) else x
        if out is x:
            ctx.mark_dirty(x)
        return affine(x, norm[2], norm[3], out, after=after)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, norm = ctx.saved_tensors
        dy = gradients[0]
        dy = dy if dy.stride(4) == 1 else dy.contiguous()
        n, c, positions = x.shape[0], x.shape[4], x.shape[1] * x.shape[2] * x.shape[3]
        means, rstds, scale, shift = norm
        partial, programs, each = partial_sums(x)
        kernels.norm_gradient_sums_kernel[(programs, n)](
            x, dy, scale, shift, means, rstds, partial, positions, each,
            DY_STRIDE=row_of(dy), C=c, CP=partial.shape[3], ROWS=ROWS,
        )  # fmt: skip
        sums, dx = sums_of(partial, c).contiguous(), torch.empty_like(x)
        kernels.norm_gradient_kernel[(blocks(positions * c), n)](
            x, dy, scale, shift, means, rstds, sums, dx, positions,
            DY_STRIDE=row_of(dy), C=c, BLOCK=BLOCK, num_warps=8,
        )  # fmt: skip
        total = sums.sum(0)
        return dx, total[1], total[0], dy if ctx.shortcut else None


class Join(torch.autograd.Function):
    """A map at twice its grid (trilinear) and beside it, in the same voxels, the skip from the encoder."""

    @staticmethod
    def forward(ctx: Any, low: Tensor, skip: Tensor) -> Tensor:
        n, z, y, w, c = low.shape
        out = torch.empty((*skip.shape[:4], c + skip.shape[4]), dtype=low.dtype, device=low.device)
        kernels.double_kernel[(blocks(8 * z * y * w * c), n)](
            low, out, z, y, w, OUT_STRIDE=row_of(out), C=c, BLOCK=BLOCK, num_warps=8
        )
        out[..., c:] = skip
        ctx.low = low.shape
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        dy = gradients[0].contiguous()
        n, z, y, w, c = ctx.low
        dx = torch.empty(ctx.low, dtype=dy.dtype, device=dy.device)
        kernels.double_gradient_kernel[(blocks(z * y * w * c), n)](
            dy, dx, z, y, w, DY_STRIDE=row_of(dy), C=c, BLOCK=BLOCK, num_warps=8
        )
        return dx, dy[..., c:]


class Halve(torch.autograd.Function):
    """The largest of each 2 x 2 x 2 voxels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        n, z, y, w, c = x.shape[0], x.shape[1] // 2, x.shape[2] // 2, x.shape[3] // 2, x.shape[4]
        out = torch.empty((n, z, y, w, c), dtype=x.dtype, device=x.device)
        kernels.halve_kernel[(blocks(z * y * w * c), n)](
            x, out, z, y, w, X_STRIDE=row_of(x), C=c, BLOCK=BLOCK, num_warps=8
        )
        ctx.save_for_backward(x)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        dy = gradients[0].contiguous()
        n, z, y, w, c = dy.shape
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        kernels.halve_gradient_kernel[(blocks(z * y * w * c), n)](
            x, dy, dx, z, y, w, X_STRIDE=row_of(x), C=c, BLOCK=BLOCK, num_warps=8
        )
        return dx


def norm_relu(x: Tensor, weight: Tensor, bias: Tensor, after: Tensor | None = None) -> Tensor:
    """`relu(norm(x)) + after`. `x` is used up where no gradient is wanted."""
    out: Tensor = NormRelu.apply(x, weight, bias, after)  # type: ignore[no-untyped-call]
    return out


def joined(low: Tensor, skip: Tensor) -> Tensor:
    """`low` at twice its grid, trilinear, with the channels of `skip` after its own."""
    out: Tensor = Join.apply(low, skip)  # type: ignore[no-untyped-call]
    return out


def halved(x: Tensor) -> Tensor:
    """The largest of each 2 x 2 x 2 voxels of `x`. Its sides are even."""
    out: Tensor = Halve.apply(x)  # type: ignore[no-untyped-call]
    return out
