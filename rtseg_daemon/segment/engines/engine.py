"""The one interface behind which a bundle's members run, and what may be chosen about it."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rtseg_daemon.anatomy.arrays import Values
from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.errors import DeviceError, EngineError

if TYPE_CHECKING:  # a network can be timed without what bundles are read with
    from rtseg_daemon.bundles import Bundle
    from rtseg_daemon.segment.engines.memory import MemoryPlan

Work = tuple[int, Values]
"""A member's number, and a window `(z, y, x)` after that member's intensity transform."""


class InferenceEngine(Protocol):
    """Runs the members of one bundle on windows of one shape."""

    description: str
    on_card: bool

    def placed(self, array: Array) -> Values:
        """`array` where this engine computes: a tensor on its card, or the array itself."""
        ...

    def run(self, work: Iterable[Work]) -> Generator[Values, None, None]:
        """Class probabilities `(classes, z, y, x)` float32 for each piece of `work`, in its order and where it lies.

        Work is taken some pieces ahead. An array holds until the next one is asked for.
        """
        ...


@dataclass(frozen=True)
class Choice:
    """Where and how a bundle runs.

    Args:
        device: `cpu`, `cuda` or `cuda:N`.
        backend: `torch` or `openvino`.
        precision: `fp32`, `bf16` or `fp16`.
        threads: processor threads, or 0 for all of them.
        share: how many workers share the card. Each takes as large a part of its memory.
        plan: what memory allows, or None for one window after the other.
    """

    device: str
    backend: str
    precision: str
    threads: int = 0
    share: int = 1
    plan: "MemoryPlan | None" = None


def choose(device: str, backend: str, precision: str, threads: int, cuda: int, trouble: str = "") -> Choice:
    """What `auto` means on a machine with `cuda` devices.

    A GPU before the processor. OpenVINO on the processor, torch on a GPU. Precision is fp16 on a GPU and bf16 on a
    processor (that has it: `engines.on_this_processor`). Raises DeviceError where the configuration asks for what is
    not there. `trouble` is why no CUDA device is usable.
    """
    if device.startswith("cuda") and cuda == 0:
        why = f" ({trouble})" if trouble else ""
        raise DeviceError(
            f"compute.device is {device} but no CUDA device is usable{why}; set compute.device: auto or cpu"
        )
    index = int(device.partition(":")[2] or 0) if device.startswith("cuda") else 0
    if device.startswith("cuda") and index >= cuda:
        raise DeviceError(f"compute.device is {device} but there are {cuda} CUDA devices, counted from 0")
    place = ("cuda" if cuda else "cpu") if device == "auto" else device
    if backend == "openvino" and place != "cpu":
        raise DeviceError(f"compute.backend openvino runs on the processor, not on {place}; set compute.device: cpu")
    runner = ("openvino" if place == "cpu" else "torch") if backend == "auto" else backend
    half = "fp16" if place != "cpu" else "bf16"
    return Choice(place, runner, half if precision == "auto" else precision, threads)


@contextmanager
def named_failure(bundle: "Bundle", choice: Choice) -> Iterator[None]:
    """Turn whatever a backend throws while it loads into one sentence that names it."""
    try:
        yield
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineError(
            f"bundle {bundle.name} cannot run with {choice.backend} {choice.precision} on {choice.device}: {first}"
        ) from error
