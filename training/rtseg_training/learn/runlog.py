"""What a run writes while it trains: `log.csv`, and TensorBoard events where tensorboard is installed."""

import csv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Progress:
    """Where a run stands. Handed to `report` after every step. `waiting` is the share of the time without patches."""

    step: int
    steps: int
    loss: float
    seconds_left: float
    rate: float = 0.0
    waiting: float = 0.0
    validation: dict[str, float] = field(default_factory=dict)


class RunLog:
    """Appends to the files of one run. A run that is taken up again at `step` goes on from there in the same ones.

    What cannot be written is lost without a word: a log does not stop a run, the next checkpoint speaks of a full disk.
    """

    def __init__(self, folder: Path, classes: list[str], step: int = 0) -> None:
        self.path = folder / "log.csv"
        self.classes = classes
        self.head = ["step", "seconds", "loss", *classes]
        self.board = tensorboard(folder / "tensorboard", step)
        with suppress(OSError):
            forget_beyond(self.path, self.head, step)

    def write(self, progress: Progress, seconds: float) -> None:
        with suppress(OSError):
            self._write(progress, seconds)

    def _write(self, progress: Progress, seconds: float) -> None:
        fresh = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(self.head)
            scores = [f"{progress.validation[c]:.4f}" if c in progress.validation else "" for c in self.classes]
            writer.writerow([progress.step, f"{seconds:.1f}", f"{progress.loss:.5f}", *scores])
        if self.board is not None:
            self.board.add_scalar("loss", progress.loss, progress.step)
            self.board.add_scalar("rate", progress.rate, progress.step)
            self.board.add_scalar("waiting", progress.waiting, progress.step)
            for name, score in progress.validation.items():
                self.board.add_scalar(f"dice/{name}", score, progress.step)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def forget_beyond(path: Path, head: Sequence[str], step: int) -> None:
    """Cut off what a run logged after the checkpoint of `step`, from which it goes on, and rows that are damaged."""
    if not path.exists():
        return
    written = path.read_text(errors="replace")
    lines = written.splitlines()[: None if written.endswith("\n") else -1]  # a row without its end was torn
    kept = [row for row in lines if (logged := step_of(row, len(head))) is not None and logged <= step]
    if [",".join(head), *kept] != lines or not written.endswith("\n"):
        partial = path.with_suffix(".partial")
        partial.write_text("\n".join([",".join(head), *kept]) + "\n")
        partial.replace(path)


def step_of(row: str, columns: int) -> int | None:
    """The step of a row of the log, or None where it is no whole row of numbers."""
    cells = row.split(",")
    try:
        for place, cell in enumerate(cells):
            if cell or place < 3:  # a class may have no score
                float(cell)
        return int(cells[0]) if len(cells) == columns else None
    except ValueError:
        return None


def tensorboard(folder: Path, step: int) -> Any | None:
    """An event writer, or None where tensorboard is not installed (it is an extra)."""
    try:
        # tensorboard is an extra that need not be installed
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step or None)
