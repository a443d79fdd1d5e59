"""How much memory a window takes, what a machine has left, and what is given up first where that does not suffice.

Speed goes before the answer: first members stop keeping their working memory between their turns and run one after the
other. Then volumes that may go whole go in windows of training. Only then the windows get smaller than those, which
changes what instance norm makes of them and is told with every organ (`reduced`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtseg_daemon.anatomy.volume import Shape
from rtseg_daemon.bundles import DIVISOR, ONE_PASS, Bundle

GIB = 2**30

RESERVE_BYTES = 1 * GIB
"""Kept free for a CT of 300 slices, its copies on the way to the network's grid, and everything else on the machine."""

COMFORT_BYTES = 3 * GIB
"""Working memory that members may keep between their turns: a worker stays below 4 GB in all."""

SMALLEST_SIDE = 32
"""Windows are not halved below this: a network that sees less context than that is better run elsewhere."""

MOST_HALVINGS = 2

MEMORY_WORDS = ("out of memory", "bad_alloc", "can't allocate memory", "could not allocate", "failed to allocate")
"""What backends write into errors of other types when memory runs out (torch, oneDNN, OpenVINO)."""


@dataclass(frozen=True)
class MemoryPlan:
    """How members run within a budget.

    Args:
        window: `(z, y, x)`, that of training unless nothing else fits.
        whole: every volume in one piece, members side by side. The bundle was validated so and memory allows it.
        streams: windows at work at once.
        resident: members keep their working memory between their turns.
    """

    window: Shape
    streams: int
    resident: bool
    whole: bool = False


def fitted(bundle: Bundle, plan: MemoryPlan) -> Bundle:
    """The bundle with the window that its plan leaves it."""
    return bundle if plan.whole else bundle.model_copy(update={"window": plan.window, "window_step": None})


def plan(
    window: Shape,
    divisor: Shape,
    members: int,
    streams: int,
    need: Callable[[Shape], int],
    available: int,
    whole: Shape | None = None,
) -> MemoryPlan:
    """The first of the ways to run that fits into `available` bytes, or the last and smallest one.

    `need` gives the bytes that one window at work takes. Sides stay multiples of `divisor` (z, y, x). `whole` is the
    largest volume of a bundle that takes volumes in one piece: a member then has one of them at work at a time.
    """
    for shape, entire in [(window, False)] if whole is None else [(whole, True), (window, False)]:
        one = need(shape)
        for many, resident in ((streams, True), (1, True), (streams, False), (1, False)):
            held = one * ((1 if entire else many) * members if resident else many)
            if held <= (min(available, COMFORT_BYTES) if resident else available):
                return MemoryPlan(window, many, resident, entire)
    for smaller in smaller_windows(window, divisor):
        window = smaller
        if need(smaller) <= available:
            break
    return MemoryPlan(window, 1, False)


def smaller_windows(window: Shape, divisor: Shape) -> Iterable[Shape]:
    """Windows of half the voxels and again half, longest side first, while that side stays at SMALLEST_SIDE or more."""
    sides = list(window)
    while True:
        axis = max(range(3), key=lambda a: sides[a])
        half = sides[axis] // 2 // divisor[axis] * divisor[axis]
        if half < SMALLEST_SIDE:
            return
        sides[axis] = half
        yield sides[0], sides[1], sides[2]


def divisor_of(bundle: Bundle) -> Shape:
    """What the sides of a window of this bundle's network must be multiples of (z, y, x).

    A family that sees the whole volume in one pass means nothing in a part of it: its window is never halved.
    """
    return bundle.window if bundle.family in ONE_PASS else DIVISOR[bundle.family]


def halved(bundle: Bundle, halvings: int) -> Bundle:
    """The bundle so many times smaller, or as often as can be: whole volumes in windows first, then halved windows."""
    windows = smaller_ways(bundle)
    if halvings == 0 or not windows:
        return bundle
    return bundle.model_copy(update={"window": windows[min(halvings, len(windows)) - 1], "window_step": None})


def smaller_ways(bundle: Bundle) -> list[Shape]:
    """The windows in which a bundle may be tried when memory ran out in its own way."""
    whole = [bundle.window] if bundle.window_step else []
    return [*whole, *smaller_windows(bundle.window, divisor_of(bundle))]


def attempts(device: str, bundles: Sequence[Bundle]) -> Iterator[tuple[str, int]]:
    """Device and halvings of the windows, in the order in which a case that runs out of memory is tried again."""
    yield device, 0
    most = max(len(smaller_ways(bundle)) for bundle in bundles)
    for halvings in range(1, min(most, MOST_HALVINGS + any(bundle.window_step for bundle in bundles)) + 1):
        yield device, halvings
    if device != "cpu":
        yield "cpu", 0


def reduced(used: Bundle, validated: Bundle) -> str:
    """What is said of a case that ran in smaller pieces than its bundle was validated with, empty if it did not."""
    if (used.window, used.window_step) == (validated.window, validated.window_step):
        return ""
    window, instead = (" x ".join(str(n) for n in one.window) for one in (used, validated))
    if validated.window_step:
        instead = "whole volumes"
    return f"memory was short: contoured in windows of {window} voxels instead of {instead}, which was not validated"


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or its cause, says that memory ran out (also torch.cuda.OutOfMemoryError)."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in MEMORY_WORDS):
        return True
    return error.__cause__ is not None and out_of_memory(error.__cause__)


def card_lost(error: BaseException) -> bool:
    """Whether an exception, or its cause, says that the card or its driver failed: the process cannot use it again."""
    if type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error):
        return not out_of_memory(error)
    return error.__cause__ is not None and card_lost(error.__cause__)


def available_bytes(root: Path = Path("/")) -> int:
    """Memory that a process may still take: the kernel's estimate, or what its control group leaves if that is less.

    Sources: proc(5) MemAvailable, and the kernel's cgroup-v2 documentation, memory.max and memory.current (page cache
    is
    counted there, so `inactive_file` of memory.stat is given back). A kernel that tells nothing limits nothing.
    """
    left = [kernel_estimate(root / "proc/meminfo"), group_left(root / "sys/fs/cgroup")]
    return max(0, min((n for n in left if n is not None), default=2**62) - RESERVE_BYTES)


def kernel_estimate(path: Path) -> int | None:
    """MemAvailable in bytes."""
    facts = dict(line.split(":", 1) for line in text_of(path).splitlines() if ":" in line)
    return int(facts["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in facts else None


def group_left(folder: Path) -> int | None:
    """What the control group at `folder` leaves, or None where it has no limit."""
    limit, used = text_of(folder / "memory.max").strip(), text_of(folder / "memory.current").strip()
    if not (limit.isdigit() and used.isdigit()):
        return None
    cache = dict(line.split() for line in text_of(folder / "memory.stat").splitlines())
    return int(limit) - int(used) + int(cache.get("inactive_file", 0))


def text_of(path: Path) -> str:
    """A file's text, empty where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
