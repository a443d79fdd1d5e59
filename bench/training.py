"""A data set as large as a department's: peak memory, seconds to the first step cold and warm, patches a second.

    python bench/training.py --cases 500 --work DIR            # DIR needs about 60 MB a case
    python bench/training.py --cases 20 --work DIR --makers 2

The cases are phantoms of 512 x 512 x 150 voxels, a few of them repeated under other names and as files of their own.
Their seven organs are cut into 22, as many as StructSeg has. The recipe's grid is 3 x 1 x 1 mm. A step is one of
3D-SepNet of width 8, so that what is timed is the way of the cases.
"""

import argparse
import hashlib
import os
import resource
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import torch
from rtseg_training.learn.cache import ready_cases
from rtseg_training.learn.dataset import batch_of
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Augment, Member, Recipe
from rtseg_training.learn.trainer import Feed, Run
from rtseg_training.sets.cases import Case, make_case, save_case
from rtseg_training.sets.joined import listed
from rtseg_training.sets.manifest import Entry, write_manifest

from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.demo.phantom import make_phantom

SLICES, ORGANS = 150, 22


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the set and the prepared cases")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--files", type=int, default=2, help="distinct phantoms among them")
    parser.add_argument("--makers", type=int, default=0, help="processes that prepare cases; 0: one a core")
    parser.add_argument("--patches", type=int, default=40, help="patches timed for each number of workers")
    parser.add_argument("--keep", action="store_true", help="keep what was prepared before: no cold start")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = data_set(options.work / "set", options.cases, options.files)
    recipe, memory = recipe_of(ORGANS), Peak()
    if not options.keep:
        shutil.rmtree(folder / "prepared", ignore_errors=True)
        print(f"first step, cold: {first_step(folder, recipe, options.work, options.makers):.1f} s", flush=True)
    print(f"first step, warm: {first_step(folder, recipe, options.work, options.makers):.1f} s", flush=True)
    cases = ready_cases(listed(folder), recipe)
    for workers in (1, 2, 4):
        rate, each = patches_a_second(cases, recipe, workers, options.patches)
        print(f"{workers} workers: {rate:.1f} patches a second, {1000 * each:.0f} ms of a core each", flush=True)
    size = sum(path.stat().st_size for path in (folder / "prepared").rglob("*.case")) / 2**30
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.0f}, {options.makers or 'default'} makers")
    print(f"{len(cases)} cases of {cases[0].hu.shape} voxels, {size:.1f} GiB prepared, {len(recipe.classes)} organs")
    print(f"peak memory of all processes: {memory.stop():.1f} GiB, and of this one with the files that it maps "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")  # fmt: skip


def recipe_of(organs: int) -> Recipe:
    """Clinical resolution, patches of 96 x 64 x 64, one step."""
    return Recipe(
        name="bench", classes=[f"Organ{k}" for k in range(organs)], arguments={"width": 8}, spacing_mm=(3.0, 1.0, 1.0),
        patch=(96, 64, 64), extent_mm=(420.0, 312.0, 250.0), foreground=0.5, augment=Augment(),
        steps=1, members=[Member(name="a", seed=1)],
    )  # fmt: skip


def data_set(folder: Path, cases: int, files: int) -> Path:
    """`cases` cases, `files` of them made, the others copies with a comment at their end: other files, same content."""
    known = {one.name: one.entry for one in listed(folder)} if (folder / "manifest.json").is_file() else {}
    if len(known) == cases:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"case{k}" for k in range(min(files, cases))]
    made = [known.get(name) or save_case(large_case(name, k), folder) for k, name in enumerate(names)]
    entries: list[Entry] = list(made)
    for k in range(len(made), cases):
        source = made[k % len(made)]
        path = folder / f"case{k}.npz"
        shutil.copyfile(folder / str(source["file"]), path)
        commented(path, f"copy {k}".encode())
        entries.append(
            {**source, "name": f"case{k}", "file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        )
    write_manifest(folder, entries, "phantoms", [])
    return folder


def commented(path: Path, text: bytes) -> None:
    """Put a comment at the end of a zip archive: its last record ends in the comment's length and the comment."""
    with path.open("r+b") as file:
        file.seek(-2, 2)
        file.write(len(text).to_bytes(2, "little") + text)


def large_case(name: str, seed: int) -> Case:
    """A phantom of 150 slices, its organs cut along z into pieces."""
    volume, masks = make_phantom(seed)
    rows = np.clip(np.arange(SLICES) - (SLICES - volume.shape[0]), 0, volume.shape[0] - 1)
    tall = Volume(volume.array[rows], volume.spacing_mm, volume.origin_mm)
    pieces: dict[str, Array] = {}
    for k in range(ORGANS):
        whole = list(masks.values())[k % len(masks)][rows]
        held, part, parts = np.flatnonzero(whole.any(axis=(1, 2))), k // len(masks), -(-ORGANS // len(masks))
        own = np.zeros_like(whole)
        inside = held[part * len(held) // parts : (part + 1) * len(held) // parts]
        own[inside] = whole[inside]
        pieces[f"Organ{k}"] = own
    return make_case(name, tall, pieces)


def first_step(folder: Path, recipe: Recipe, work: Path, makers: int) -> float:
    """Seconds from the start of a training to the end of its first step, cases prepared where they are not yet."""
    shutil.rmtree(work / "run", ignore_errors=True)
    began = time.monotonic()
    cases = ready_cases(listed(folder), recipe, makers=makers)
    Run(recipe, recipe.members[0], work / "run").train(cases, [], lambda _progress: None)
    return time.monotonic() - began


def patches_a_second(cases: list[TrainingCase], recipe: Recipe, workers: int, count: int) -> tuple[float, float]:
    """Patches that `workers` threads make for a training that takes them at once, and seconds of a core for each."""
    feed = Feed(lambda step: batch_of(cases, recipe, 1, step), 0, workers)
    try:
        feed.take()
        began, worked = time.monotonic(), time.process_time()
        for _ in range(count):
            feed.take()
        return count / (time.monotonic() - began), (time.process_time() - worked) / count
    finally:
        feed.close()


class Peak:
    """The largest sum of memory of this process and its children, without files that are only mapped."""

    def __init__(self) -> None:
        self.most = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.done.wait(0.3):
            self.most = max(self.most, sum(map(anonymous_kib, family())))

    def stop(self) -> float:
        """GiB."""
        self.done.set()
        self.thread.join()
        return self.most / 2**20


def family() -> list[str]:
    """This process and its children, by number."""
    children = Path("/proc/self/task").glob("*/children")
    return ["self", *(number for path in children for number in path.read_text().split())]


def anonymous_kib(process: str) -> int:
    """Memory of its own, 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    main()
