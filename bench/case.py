"""A whole case through the daemon, from the last image to the RTSTRUCT at the planning system: where each second goes.

    python bench/case.py [--rounds 3] [--picture docs/case.png]

The phantom (512 x 512 x 124) goes over loopback; the first round is cold (models are compiled and cached), the others
warm. The wait for silence (`series.quiet_seconds`, 2 s here) is shown apart: it is the operator's choice.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from rtseg_daemon.demo.phantom import make_phantom, write_series
from rtseg_daemon.demo.play import daemon, free_port, list_jobs, planning_system, send_images, write_config

QUIET_S = 2.0


def one_case(config: Path, received: list[Path], seed: int, folder: Path) -> dict[str, float]:
    """Send the phantom of `seed` and wait for its structure set; seconds per stage."""
    files = write_series(make_phantom(seed)[0], folder, seed)
    before, known = len(received), {job["id"] for job in list_jobs(config)}
    began = time.perf_counter()
    send_images(config, files)
    sent = time.perf_counter()
    while len(received) == before:
        if time.perf_counter() - sent > 300:
            raise SystemExit("no result within 300 s")
        time.sleep(0.02)
    arrived = time.perf_counter()
    job = next(job for job in list_jobs(config) if job["id"] not in known)
    command = [sys.executable, "-m", "rtseg_daemon", "jobs", "show", str(job["id"]), "--json", "--config", str(config)]
    shown = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    stages = {name: float(value) for name, value in shown["seconds"].items()}
    rest = arrived - sent - QUIET_S - sum(stages.values())
    return {"send": sent - began, "quiet": QUIET_S, **stages, "queue, write, check, deliver": rest}


def draw(runs: list[dict[str, float]], path: Path) -> None:
    """A stacked bar per round, the wait for silence left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.7 * len(runs) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = ["cold", *[f"warm {k}" for k in range(1, len(runs))]]
    left = [0.0] * len(runs)
    for stage in [name for name in runs[0] if name != "quiet"]:
        values = [run.get(stage, 0.0) for run in runs]
        axes.barh(names, values, left=left, label=stage)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set_xlabel("seconds")
    axes.legend(fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="warm rounds after the cold one")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        config = write_config(out, free_port(), free_port())
        with planning_system(config, out / "received") as received, daemon(config, out, console):
            runs = [one_case(config, received, 1 + k, out / f"ct{k}") for k in range(options.rounds + 1)]
    stages = list(dict.fromkeys(name for run in runs for name in run))
    print("| stage | cold s | warm s (median) |\n|---|---|---|")
    for name in stages:
        warm = statistics.median(run.get(name, 0.0) for run in runs[1:])
        print(f"| {name} | {runs[0].get(name, 0.0):.2f} | {warm:.2f} |")
    totals = [sum(v for k, v in run.items() if k not in ("send", "quiet")) for run in runs]
    print(f"| last image to arrival, silence left out | {totals[0]:.2f} | {statistics.median(totals[1:]):.2f} |")
    if options.picture:
        draw(runs, options.picture)


if __name__ == "__main__":
    main()
