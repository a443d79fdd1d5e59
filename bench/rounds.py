"""Rounds of a comparison, kept in a file while they come, and the table of their medians.

A comparison of hours can be interrupted: the next run with the same file goes on with the rounds that are missing.
"""

import json
import statistics
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Round:
    """One turn of every way: its seconds and least Dice by name; the members alone (s), the matmul peaks (GFLOP/s)."""

    ways: dict[str, dict[str, float]] = field(default_factory=dict)
    forward: float = 0.0
    peak: float = 0.0
    peak_float32: float = 0.0


class Rounds:
    """The rounds of one comparison, `about` saying which; read from and added to `log` where there is one."""

    def __init__(self, log: Path | None, about: dict[str, Any]) -> None:
        self.log, self.done = log, list[Round]()
        if log is None:
            return
        if not log.exists():
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(json.dumps(about) + "\n")
        held, *rounds = [json.loads(line) for line in log.read_text().splitlines()]
        other = sorted(key for key in {*held, *about} if held.get(key) != about.get(key))
        if other:
            sys.exit(f"{log} holds another comparison ({', '.join(other)}); name another file")
        self.done = [Round(**entry) for entry in rounds]

    def add(self, entry: Round) -> None:
        """Keep a finished round."""
        self.done.append(entry)
        if self.log is not None:
            with self.log.open("a") as out:
                out.write(json.dumps(asdict(entry)) + "\n")

    def median(self, way: str, *parts: str) -> float:
        """The median over the rounds of the sum of these parts of `way`."""
        return statistics.median(sum(entry.ways[way][part] for part in parts) for entry in self.done)

    def print_table(self, against: str) -> None:
        """The medians of every way as Markdown; ratios to the first."""
        names = list(self.done[0].ways)
        mine = names[0]
        print(f"medians of {len(self.done)} interleaved rounds\n")
        header = "way | whole s | network s | around s | times this engine | processor s | times | least Dice to"
        print(f"| {header} {against.split(' (')[0]} |")
        print("|---|---|---|---|---|---|---|---|")
        for name in names:
            whole, network = self.median(name, "network", "around"), self.median(name, "network")
            around, used = self.median(name, "around"), self.median(name, "processor")
            ratio = whole / self.median(mine, "network", "around")
            print(
                f"| {name} | {whole:.2f} | {network:.2f} | {around:.2f} | {ratio:.1f} | {used:.2f} | "
                f"{used / self.median(mine, 'processor'):.1f} | {self.done[-1].ways[name]['dice']:.4f} |"
            )

    def print_peak(self, work: float, precision: str) -> None:
        """How near the forward pass, of `work` GFLOP, comes to what this machine multiplies in its precision."""
        forward = statistics.median(entry.forward for entry in self.done)
        peak = max(entry.peak for entry in self.done)
        single = max(entry.peak_float32 for entry in self.done)
        speed = work / forward
        print(
            f"\nforward pass {forward:.2f} s, {speed:.0f} GFLOP/s = {100 * speed / peak:.0f} % of the {precision} "
            f"matmul peak\nof {peak:.0f} GFLOP/s in the same rounds; {single:.0f} GFLOP/s in float32"
        )
