"""What the daemon's processes weigh, and how long they take to start.

    python bench/processes.py [--rounds 5] [--checkout before=DIR --checkout after=.] [--log FILE]

Every round starts `serve` of every checkout in turn, with a storage of its own and no route, so that the worker loads
no bundle. Memory is VmRSS `--settle` seconds after the daemon listens, that of `--help` is the peak. The
start of `serve` is the time until it answers on its port. That of a child is the time of its module with `--help`:
everything is imported and the arguments are read. The children are found by their parent, and their modules by their
command lines, so that checkouts may name them differently. With `--log` every measurement is added to a file.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

START_SECONDS = 120.0
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Figure:
    """One process of one round: resident memory in MB (10^6 bytes), seconds until it has started."""

    checkout: str
    process: str
    megabytes: float
    seconds: float


@dataclass(frozen=True)
class Checkout:
    """A source tree and what it is called in the table."""

    name: str
    folder: Path

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Python with these arguments on this source tree; what it prints is dropped."""
        path = os.pathsep.join([str(self.folder), str(self.folder / "training")])
        environment = os.environ | {"PYTHONPATH": path}
        nowhere = subprocess.DEVNULL
        return subprocess.Popen(
            [sys.executable, *arguments], env=environment, cwd=self.folder, stdout=nowhere, stderr=nowhere
        )


def checkout(text: str) -> Checkout:
    """`NAME=DIR`, or a folder that goes by its own name."""
    name, _, folder = text.rpartition("=")
    path = Path(folder).resolve()
    return Checkout(name or path.name, path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Returns once something answers on the port; ends the program where the process does not come so far."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    process.kill()
    sys.exit("`serve` does not listen; start it by hand to see why")


def resident_megabytes(pid: int) -> float:
    """VmRSS of a process (proc(5) counts in KiB)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024 / 1e6


def children_of(pid: int) -> Iterator[tuple[int, str]]:
    """Process id and module of every `python -m MODULE` that this process has started."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            words = (path / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if parent == pid and "-m" in words:
            yield int(path.name), words[words.index("-m") + 1]


def role_of(module: str) -> str:
    """receiver, deliverer or worker, whatever the module is called."""
    roles = {"receive": "receiver", "deliver": "deliverer", "work": "worker"}
    return next((role for part, role in roles.items() if part in module.rpartition(".")[2]), module)


def with_help(tree: Checkout, module: str) -> tuple[float, float]:
    """Peak memory (MB) and seconds of `python -m MODULE --help`."""
    began = time.perf_counter()
    process = tree.command("-m", module, "--help")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{module} --help ended with exit status {process.returncode} in {tree.folder}")
    return usage.ru_maxrss * 1024 / 1e6, time.perf_counter() - began


def measure(tree: Checkout, settle: float) -> Iterator[Figure]:
    """One round of one checkout."""
    with tempfile.TemporaryDirectory() as folder:
        port, config = free_port(), Path(folder) / "config.yaml"
        sections = {"dicom": {"port": port}, "storage": {"directory": "storage", "minimum_free_gb": 0}}
        config.write_text(yaml.safe_dump(sections | {"web": {"enabled": False}}))
        began = time.perf_counter()
        serve = tree.command("-m", "rtseg_daemon", "serve", "--config", str(config))
        try:
            wait_until_listening(port, serve)
            started = time.perf_counter() - began
            time.sleep(settle)
            supervisor = resident_megabytes(serve.pid)
            children = [(module, resident_megabytes(pid)) for pid, module in children_of(serve.pid)]
        finally:
            serve.send_signal(signal.SIGTERM)
            serve.wait()
    yield Figure(tree.name, "supervisor", supervisor, started)
    for module, megabytes in sorted(children):
        yield Figure(tree.name, role_of(module), megabytes, with_help(tree, module)[1])
    yield Figure(tree.name, "--help", *with_help(tree, "rtseg_daemon"))


def print_table(figures: list[Figure]) -> None:
    """Medians over the rounds as Markdown, a row for each process and checkout."""
    found: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    for figure in figures:
        found[figure.process, figure.checkout].append(figure)
    print("| process | checkout | resident MB | start s | rounds |")
    print("|---|---|---|---|---|")
    order = list(dict.fromkeys(figure.process for figure in figures))
    for (process, name), rounds in sorted(found.items(), key=lambda item: order.index(item[0][0])):
        megabytes = statistics.median(one.megabytes for one in rounds)
        seconds = statistics.median(one.seconds for one in rounds)
        print(f"| {process} | {name} | {megabytes:.0f} | {seconds:.2f} | {len(rounds)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--settle", type=float, default=8.0, help="seconds between listening and weighing")
    parser.add_argument("--checkout", type=checkout, action="append", metavar="[NAME=]DIR", help="default: this one")
    parser.add_argument("--log", type=Path, help="file to which every measurement is added, one JSON object a line")
    options = parser.parse_args()
    trees = options.checkout or [Checkout("this", ROOT)]
    figures: list[Figure] = []
    for number in range(1, options.rounds + 1):
        for tree in trees:
            measured = list(measure(tree, options.settle))
            figures += measured
            if options.log:
                with options.log.open("a") as log:
                    log.writelines(json.dumps({"round": number} | asdict(figure)) + "\n" for figure in measured)
    print(f"medians of {options.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print_table(figures)


if __name__ == "__main__":
    main()
