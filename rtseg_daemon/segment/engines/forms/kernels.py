"""Triton kernels on maps that lie as `(n, positions, channels)`: norms, trilinear doubling, pooling.

Each reads and writes its map once. Sums are made in float32 and in a fixed order, so that the same input gives the
same answer to the last bit. `maps.py` calls them, and this file alone imports Triton.

Sizes that differ from patient to patient are not specialised on: a kernel is compiled once for each number of channels
and not again for each new volume. A row is what one voxel holds. Its length in memory may exceed its channels where a
map is the part of a wider one.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["positions", "per_program"])
def moments_kernel(
    x, partial, positions, per_program, STRIDE: tl.constexpr, C: tl.constexpr, CP: tl.constexpr, ROWS: tl.constexpr
):
    """Sums of x and of x squared over a share of the positions: `partial[n, program, 2, CP]`."""
    program, n = tl.program_id(0), tl.program_id(1)
    channel = tl.arange(0, CP)
    x += n.to(tl.int64) * positions * STRIDE
    first = program * per_program
    total = tl.zeros((ROWS, CP), tl.float32)
    squares = tl.zeros((ROWS, CP), tl.float32)
    for start in range(first, first + per_program, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < positions)[:, None] & (channel < C)[None, :]
        value = tl.load(x + row[:, None] * STRIDE + channel[None, :], mask=inside, other=0).to(tl.float32)
        total += value
        squares += value * value
    to = partial + (n * tl.num_programs(0) + program) * 2 * CP + channel
    tl.store(to, tl.sum(total, 0))
    tl.store(to + CP, tl.sum(squares, 0))


@triton.jit(do_not_specialize=["programs", "positions"])
def finish_norm_kernel(
    partial, weight, bias, means, rstds, scale, shift, programs, positions, eps,
    C: tl.constexpr, CP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """From partial sums to mean, 1 / sd, and the norm as `scale * x + shift`, each `(n, C)`."""
    n = tl.program_id(0)
    channel = tl.arange(0, CP)
    total = tl.zeros((ROWS, CP), tl.float32)
    squares = tl.zeros((ROWS, CP), tl.float32)
    for start in range(0, programs, ROWS):
        row = start + tl.arange(0, ROWS)
        at = partial + ((n * programs + row) * 2 * CP)[:, None] + channel[None, :]
        total += tl.load(at, mask=(row < programs)[:, None], other=0)
        squares += tl.load(at + CP, mask=(row < programs)[:, None], other=0)
    inside = channel < C
    mean = tl.sum(total, 0) / positions
    variance = tl.maximum(tl.sum(squares, 0) / positions - mean * mean, 0.0)
    rstd = 1.0 / tl.sqrt(variance + eps)
    a = tl.load(weight + channel, mask=inside, other=0).to(tl.float32) * rstd
    b = tl.load(bias + channel, mask=inside, other=0).to(tl.float32) - mean * a
    at = n * C + channel
    tl.store(means + at, mean, mask=inside)
    tl.store(rstds + at, rstd, mask=inside)
    tl.store(scale + at, a, mask=inside)
    tl.store(shift + at, b, mask=inside)


@triton.jit(do_not_specialize=["positions"])
def affine_kernel(
    x, scale, shift, other, out, positions, slope,
    X_STRIDE: tl.constexpr, OUT_STRIDE: tl.constexpr, C: tl.constexpr,
    BEFORE: tl.constexpr, AFTER: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """`act(scale * x + shift [+ other]) [+ other]`, act(v) = v where v > 0, else slope * v."""
    n = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, channel = at // C, at % C
    inside = row < positions
    value = tl.load(x + n.to(tl.int64) * positions * X_STRIDE + row * X_STRIDE + channel, mask=inside).to(tl.float32)
    value = value * tl.load(scale + n * C + channel) + tl.load(shift + n * C + channel)
    if BEFORE or AFTER:
        extra = tl.load(other + n.to(tl.int64) * positions * C + at, mask=inside).to(tl.float32)
    if BEFORE:
        value += extra
    value = tl.where(value > 0, value, slope * value)
    if AFTER:
        value += extra
    to = out + n.to(tl.int64) * positions * OUT_STRIDE + row * OUT_STRIDE + channel
    tl.store(to, value.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["positions", "per_program"])
def norm_gradient_sums_kernel(
    x, dy, scale, shift, means, rstds, partial, positions, per_program,
    DY_STRIDE: tl.constexpr, C: tl.constexpr, CP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Sums of g and of g * xhat, g the gradient before ReLU: `partial[n, program, 2, CP]`."""
    program, n = tl.program_id(0), tl.program_id(1)
    channel = tl.arange(0, CP)
    known = channel < C
    a, b = tl.load(scale + n * C + channel, mask=known), tl.load(shift + n * C + channel, mask=known)
    mean, rstd = tl.load(means + n * C + channel, mask=known), tl.load(rstds + n * C + channel, mask=known)
    x += n.to(tl.int64) * positions * C
    dy += n.to(tl.int64) * positions * DY_STRIDE
    first = program * per_program
    total = tl.zeros((ROWS, CP), tl.float32)
    product = tl.zeros((ROWS, CP), tl.float32)
    for start in range(first, first + per_program, ROWS):
        row = start + tl.arange(0, ROWS)
        inside = (row < positions)[:, None] & known[None, :]
        value = tl.load(x + row[:, None] * C + channel[None, :], mask=inside, other=0).to(tl.float32)
        g = tl.load(dy + row[:, None] * DY_STRIDE + channel[None, :], mask=inside, other=0).to(tl.float32)
        g = tl.where(value * a[None, :] + b[None, :] > 0, g, 0.0)
        total += g
        product += tl.where(inside, g * (value - mean[None, :]) * rstd[None, :], 0.0)
    to = partial + (n * tl.num_programs(0) + program) * 2 * CP + channel
    tl.store(to, tl.sum(total, 0))
    tl.store(to + CP, tl.sum(product, 0))


@triton.jit(do_not_specialize=["positions"])
def norm_gradient_kernel(
    x,
    dy,
    scale,
    shift,
    means,
    rstds,
    sums,
    dx,
    positions,
    DY_STRIDE: tl.constexpr,
    C: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The gradient before the norm: `scale * (g - mean(g) - xhat * mean(g * xhat))`. `sums[n, 2, C]`."""
    n = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, channel = at // C, at % C
    inside = row < positions
    base = n.to(tl.int64) * positions
    value = tl.load(x + base * C + at, mask=inside).to(tl.float32)
    g = tl.load(dy + base * DY_STRIDE + row * DY_STRIDE + channel, mask=inside).to(tl.float32)
    key = n * C + channel
    a = tl.load(scale + key)
    g = tl.where(value * a + tl.load(shift + key) > 0, g, 0.0)
    xhat = (value - tl.load(means + key)) * tl.load(rstds + key)
    mean_g = tl.load(sums + n * 2 * C + channel) / positions
    mean_gx = tl.load(sums + n * 2 * C + C + channel) / positions
    tl.store(dx + base * C + at, (a * (g - mean_g - xhat * mean_gx)).to(dx.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["Z", "Y", "X"])
def double_kernel(x, out, Z, Y, X, OUT_STRIDE: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr):
    """Trilinear doubling, voxel edges aligned: a new voxel takes 3/4 of its parent and 1/4 of the nearer neighbour."""
    n = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, channel = at // C, at % C
    inside = row < 8 * Z * Y * X
    i, j, k = row // (4 * Y * X), row // (2 * X) % (2 * Y), row % (2 * X)
    x += n.to(tl.int64) * Z * Y * X * C
    value = tl.zeros((BLOCK,), tl.float32)
    for corner in tl.static_range(8):
        wz, wy, wx = 0.75, 0.75, 0.75
        z, y, w = i // 2, j // 2, k // 2
        if corner % 2 == 1:
            w = tl.minimum(tl.maximum(w + (k % 2) * 2 - 1, 0), X - 1)
            wx = 0.25
        if corner // 2 % 2 == 1:
            y = tl.minimum(tl.maximum(y + (j % 2) * 2 - 1, 0), Y - 1)
            wy = 0.25
        if corner // 4 == 1:
            z = tl.minimum(tl.maximum(z + (i % 2) * 2 - 1, 0), Z - 1)
            wz = 0.25
        part = tl.load(x + ((z * Y + y) * X + w) * C + channel, mask=inside, other=0).to(tl.float32)
        value += wz * wy * wx * part
    to = out + n.to(tl.int64) * 8 * Z * Y * X * OUT_STRIDE + row * OUT_STRIDE + channel
    tl.store(to, value.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["Z", "Y", "X"])
def double_gradient_kernel(dy, dx, Z, Y, X, DY_STRIDE: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient of `double_kernel`: each voxel gathers from the 4 x 4 x 4 that took from it."""
    n = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, channel = at // C, at % C
    inside = row < Z * Y * X
    i, j, k = row // (Y * X), row // X % Y, row % X
    dy += n.to(tl.int64) * 8 * Z * Y * X * DY_STRIDE
    value = tl.zeros((BLOCK,), tl.float32)
    for tap in range(64):
        tz, ty, tx = tap // 16, tap // 4 % 4, tap % 4
        z, y, w = 2 * i - 1 + tz, 2 * j - 1 + ty, 2 * k - 1 + tx
        weight = share(i, tz, Z) * share(j, ty, Y) * share(k, tx, X)
        part = tl.load(
            dy + ((z * 2 * Y + y) * 2 * X + w) * DY_STRIDE + channel, mask=inside & (weight > 0), other=0
        ).to(tl.float32)
        value += weight * part
    tl.store(dx + n.to(tl.int64) * Z * Y * X * C + at, value.to(dx.dtype.element_ty), mask=inside)


@triton.jit
def share(i, tap, length):
    """What voxel i gives to the new voxel 2i - 1 + tap. At the edge it also stands in for the missing neighbour."""
    weight = tl.where((tap == 1) | (tap == 2), 0.75, 0.25)
    edge = ((tap == 1) & (i == 0)) | ((tap == 2) & (i == length - 1))
    beyond = ((tap == 0) & (i == 0)) | ((tap == 3) & (i == length - 1))
    return tl.where(beyond, 0.0, tl.where(edge, 1.0, weight))


@triton.jit(do_not_specialize=["Z", "Y", "X"])
def halve_kernel(x, out, Z, Y, X, X_STRIDE: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr):
    """The largest of each 2 x 2 x 2 voxels. Z, Y, X are those of `out`."""
    n = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, channel = at // C, at % C
    inside = row < Z * Y * X
    i, j, k = row // (Y * X), row // X % Y, row % X
    x += n.to(tl.int64) * 8 * Z * Y * X * X_STRIDE
    value = tl.full((BLOCK,), float("-inf"), tl.float32)
    for corner in tl.static_range(8):
        z, y, w = 2 * i + corner // 4, 2 * j + corner // 2 % 2, 2 * k + corner % 2
        part = tl.load(x + ((z * 2 * Y + y) * 2 * X + w) * X_STRIDE + channel, mask=inside, other=0).to(tl.float32)
        value = tl.maximum(value, part)
    tl.store(out + n.to(tl.int64) * Z * Y * X * C + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["Z", "Y", "X"])
def halve_gradient_kernel(x, dy, dx, Z, Y, X, X_STRIDE: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr):
    """The gradient of `halve_kernel`: all of it to the first of the largest voxels."""
    n = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, channel = at // C, at % C
    inside = row < Z * Y * X
    i, j, k = row // (Y * X), row // X % Y, row % X
    x += n.to(tl.int64) * 8 * Z * Y * X * X_STRIDE
    dx += n.to(tl.int64) * 8 * Z * Y * X * C
    g = tl.load(dy + n.to(tl.int64) * Z * Y * X * C + at, mask=inside, other=0).to(tl.float32)
    best = tl.full((BLOCK,), float("-inf"), tl.float32)
    chosen = tl.zeros((BLOCK,), tl.int32)
    for corner in tl.static_range(8):
        z, y, w = 2 * i + corner // 4, 2 * j + corner // 2 % 2, 2 * k + corner % 2
        part = tl.load(x + ((z * 2 * Y + y) * 2 * X + w) * X_STRIDE + channel, mask=inside, other=0).to(tl.float32)
        chosen = tl.where(part > best, corner, chosen)
        best = tl.maximum(best, part)
    for corner in tl.static_range(8):
        z, y, w = 2 * i + corner // 4, 2 * j + corner // 2 % 2, 2 * k + corner % 2
        to = dx + ((z * 2 * Y + y) * 2 * X + w) * C + channel
        tl.store(to, tl.where(chosen == corner, g, 0.0).to(dx.dtype.element_ty), mask=inside)
