"""Which pixel centres a polygon encloses."""

import numpy as np

from rtseg_daemon.anatomy.volume import Array


def enclosed(row: Array, column: Array, shape: tuple[int, int]) -> tuple[slice, slice, Array]:
    """Pixels of an image of `shape` whose centres a closed polygon encloses: its box (rows, columns) and a mask of it.

    Even-odd rule, scan line by scan line: an edge from below to at or above a line of pixel centres switches every
    pixel to the right of where it crosses. Time grows with outline and area, not with their product.
    """
    rows, columns = _clipped(row, shape[0]), _clipped(column, shape[1])
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if not height or not width:
        return rows, columns, np.zeros((height, width), bool)
    y0, x0 = row - rows.start, column - columns.start
    y1, x1 = np.roll(y0, -1), np.roll(x0, -1)
    first = np.clip(np.ceil(np.minimum(y0, y1)), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(y0, y1)), 0, height).astype(np.int64)
    count = last - first
    edge = np.repeat(np.arange(row.size), count)
    line = np.arange(edge.size) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    crossing = x0[edge] + (line - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    pixel = np.clip(np.ceil(crossing), 0, width).astype(np.int64)
    switches = np.bincount(line * (width + 1) + pixel, minlength=height * (width + 1)).reshape(height, width + 1)
    return rows, columns, np.asarray(np.cumsum(switches[:, :width], axis=1) % 2 == 1)


def _clipped(values: Array, size: int) -> slice:
    """The whole pixels that a range of coordinates can hold, within an image `size` pixels wide."""
    first = int(max(0, np.ceil(values.min())))
    return slice(first, max(first, int(min(size, np.floor(values.max()) + 1))))
