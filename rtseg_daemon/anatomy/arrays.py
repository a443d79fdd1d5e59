"""Formulas are written once for numpy arrays on the processor and for torch tensors on a card.

They call what numpy and torch name alike and give axes by position. What the two do not share is here.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = Any
"""A numpy array, or a torch tensor where a card computes."""


def module_of(values: Values) -> Any:
    """numpy, or torch where `values` is a tensor: it has been imported then."""
    return np if isinstance(values, np.ndarray) else sys.modules["torch"]


LARGE_BYTES = 2**20
"""From here on a card writes to pinned memory, many times as fast as to memory that may be moved meanwhile."""


def on_host(values: Values) -> NDArray[Any]:
    """`values` as a numpy array. Waits for the card where they lie there."""
    if isinstance(values, np.ndarray):
        return values
    if values.device.type == "cpu" or values.nbytes < LARGE_BYTES:
        return np.asarray(values.cpu().numpy())
    torch = sys.modules["torch"]
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return np.asarray(host.copy_(values).numpy())


def beside(array: NDArray[Any], values: Values) -> Values:
    """`array` where `values` lie."""
    return array if isinstance(values, np.ndarray) else sys.modules["torch"].as_tensor(array, device=values.device)


def looked_up(table: Values, index: Values) -> Values:
    """`table[index]` for small whole numbers `index`, beside which the table lies."""
    return table[index] if isinstance(index, np.ndarray) else table[index.long()]


def at_least(values: Values, least: float) -> Values:
    """`values`, and `least` where they are smaller."""
    return np.maximum(values, least) if isinstance(values, np.ndarray) else values.clamp_min(least)


def class_groups(values: Values) -> list[Values]:
    """`values` `(classes, z, y, x)` in parts: one class after the other on a processor, so that each stays in its
    cache, and all at once on a card, where every call costs the same."""
    return [values] if not isinstance(values, np.ndarray) else [values[c : c + 1] for c in range(len(values))]


def as_float(values: Values) -> Values:
    """`values` as float32, themselves where they are that."""
    return values.astype(np.float32, copy=False) if isinstance(values, np.ndarray) else values.float()


def float_copy(values: Values) -> Values:
    """A float32 copy of `values`, where they lie."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float32)
    return values.to(sys.modules["torch"].float32, copy=True)
