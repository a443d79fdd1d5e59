"""What each process of a daemon weighs while a test runs: resident memory, threads, open descriptors."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Weight:
    """One process at one moment. Memory in MB (10^6 bytes)."""

    megabytes: float
    threads: int
    descriptors: int


def weight_of(pid: int) -> Weight:
    """Raises OSError if the process has gone."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    resident = int(status["VmRSS"].split()[0]) * 1024 / 1e6
    return Weight(resident, int(status["Threads"]), len(list(Path(f"/proc/{pid}/fd").iterdir())))


@dataclass
class Scales:
    """Weighs processes by name, now and then and when asked."""

    pids: dict[str, int]
    marks: dict[str, dict[str, Weight]] = field(default_factory=dict)
    seen: dict[str, list[Weight]] = field(default_factory=lambda: defaultdict(list))

    def weigh(self) -> dict[str, Weight]:
        now = {name: weight_of(pid) for name, pid in self.pids.items()}
        for name, weight in now.items():
            self.seen[name].append(weight)
        return now

    def mark(self, moment: str) -> None:
        """What everything weighs at a moment that has a name."""
        self.marks[moment] = self.weigh()

    @contextmanager
    def weighing(self) -> Iterator["Scales"]:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(EVERY_SECONDS):
                with suppress(OSError):
                    self.weigh()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield self
        finally:
            over.set()
            watcher.join()

    def table(self) -> list[str]:
        """Markdown: a row for each process, the named moments and the most that was seen."""
        moments = [*self.marks, "most"]
        lines = [f"| process | {', '.join(moments)}: MB | threads | descriptors |", "|---|---|---|---|"]
        for name in self.pids:
            at = [weights[name] for weights in self.marks.values()]
            most = self.seen[name]
            megabytes = [one.megabytes for one in at] + [max(one.megabytes for one in most)]
            threads = [one.threads for one in at] + [max(one.threads for one in most)]
            descriptors = [one.descriptors for one in at] + [max(one.descriptors for one in most)]
            cells = [", ".join(f"{value:.0f}" for value in row) for row in (megabytes, threads, descriptors)]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return lines
