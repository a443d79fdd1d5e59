"""Prepared cases on disk: as they were made, made once, and safe from kills, full disks and two makers at once."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rtseg_training.errors import CaseError
from rtseg_training.learn import cache
from rtseg_training.learn.cache import make_all, makers_for, place_of, ready_cases
from rtseg_training.learn.dataset import foreground_corner, random_patch
from rtseg_training.learn.prepared import Prepared, extent
from rtseg_training.learn.recipe import Augment, Recipe, save_recipe
from rtseg_training.learn.stored import OnDisk
from rtseg_training.sets.cases import Case, save_case
from rtseg_training.sets.joined import Listed, listed
from rtseg_training.sets.manifest import write_manifest

from tests.unit.training.conftest import no_room, tiny_recipe


@pytest.fixture(scope="module")
def three(case: Case, tmp_path_factory: pytest.TempPathFactory) -> list[Listed]:
    """One anatomy in three files that differ in a voxel."""
    folder, entries = tmp_path_factory.mktemp("three"), []
    for k in range(3):
        hu = case.ct.array.copy()
        hu[0, 0, 0] = k - 1000
        entries.append(save_case(replace(case, name=f"p{k}", ct=case.ct.with_array(hu)), folder))
    write_manifest(folder, entries, "x", [])
    return listed(folder)


@pytest.fixture(scope="module")
def kept(three: list[Listed], recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[OnDisk]]:
    folder = tmp_path_factory.mktemp("kept")
    found = ready_cases(three, recipe, folder)
    assert all(isinstance(one, OnDisk) for one in found)
    return folder, found  # type: ignore[return-value]


def never(*_arguments: object) -> object:
    raise AssertionError("a case was prepared again")


def test_a_prepared_case_comes_back_from_disk_as_it_was(
    kept: tuple[Path, list[OnDisk]], three: list[Listed], prepared: Prepared
) -> None:
    found = kept[1][1]
    assert (found.name, found.digest) == ("p1", three[1].digest)
    assert np.array_equal(found.hu.array, prepared.hu.array)
    assert (found.hu.spacing_mm, found.hu.origin_mm) == (prepared.hu.spacing_mm, prepared.hu.origin_mm)
    assert np.array_equal(found.labels, prepared.labels)
    assert found.annotated.tolist() == prepared.annotated.tolist()
    assert found.counts.tolist() == prepared.counts.tolist()
    for organ in range(1, 6):
        assert np.array_equal(found.voxels(organ), prepared.voxels(organ))
        assert np.array_equal(extent(found, organ), extent(prepared, organ))


def test_a_case_on_disk_is_mapped_and_no_file_stays_open(kept: tuple[Path, list[OnDisk]]) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    array = kept[1][0].hu.array
    assert isinstance(array.base, np.memmap)
    del array
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_patches_from_disk_are_those_from_memory(kept: tuple[Path, list[OnDisk]], prepared: Prepared) -> None:
    recipe = tiny_recipe(augment=Augment(), jitter=(4, 4, 4), foreground=0.5)
    for step in range(4):
        mine, theirs = (random_patch([one], recipe, 5, step, 0) for one in (kept[1][1], prepared))
        assert torch.equal(mine.image, theirs.image)
        assert torch.equal(mine.labels, theirs.labels)


def test_a_point_of_an_organ_is_found_without_a_look_through_the_labels(
    kept: tuple[Path, list[OnDisk]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnDisk, "labels", property(never))
    assert foreground_corner(kept[1][0], (8, 8, 8), np.random.default_rng(0)) is not None


def test_a_warm_start_prepares_nothing_and_reads_no_case(
    kept: tuple[Path, list[OnDisk]], three: list[Listed], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "prepare", never)
    monkeypatch.setattr(Listed, "load", never)
    ticked: list[str] = []
    again = ready_cases(three, recipe, kept[0], tick=ticked.append)
    assert [one.name for one in again] == ticked == ["p0", "p1", "p2"]


def test_a_file_is_found_by_all_that_decides_and_by_nothing_else(
    three: list[Listed], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = three[0]
    first = place_of(one, recipe)
    assert first.parent.parent == one.folder / "prepared"
    named = replace(one, entry=one.entry | {"name": "another name", "patient": "another"})
    same = recipe.model_copy(update={"steps": 7, "patch": (16, 16, 16), "intensity": ["NLF2"], "batch": 3})
    assert first == place_of(named, recipe) == place_of(one, same)
    other = [
        place_of(three[1], recipe),
        place_of(replace(one, entry=one.entry | {"status": {"Brainstem": "empty"}}), recipe),
        place_of(replace(one, entry=one.entry | {"structures": ["Larynx"]}), recipe),
        *(
            place_of(one, recipe.model_copy(update=change))
            for change in (
                {"spacing_mm": (5.0, 8.0, 7.0)}, {"in_plane": "average"}, {"extent_mm": (200.0, 192.0, 180.0)},
                {"jitter": (1, 0, 0)}, {"classes": recipe.classes[::-1]},
            )
        ),
    ]  # fmt: skip
    monkeypatch.setattr(cache, "version", lambda _name: "another")
    other.append(place_of(one, recipe))
    assert len({first, *other}) == 1 + len(other)


def python(script: str, *words: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


MAKER = """
import sys, time
from pathlib import Path
from rtseg_training.learn import cache
from rtseg_training.learn.recipe import load_recipe
from rtseg_training.sets.joined import listed
plain = cache.prepare
def watched(case, recipe):
    with open(sys.argv[4], "a") as log:
        log.write(case.name + "\\n")
    time.sleep(0.3)
    return plain(case, recipe)
cache.prepare = watched
assert "torch" not in sys.modules
cases = listed(Path(sys.argv[1]))
found = cache.ready_cases(cases, load_recipe(Path(sys.argv[2])), Path(sys.argv[3]), 1, rank=int(sys.argv[5]), world=2)
print([one.name for one in found])
"""


def test_two_makers_at_once_make_each_case_once_and_need_no_torch(
    three: list[Listed], recipe: Recipe, tmp_path: Path
) -> None:
    path, log = save_recipe(recipe, tmp_path / "recipe.yaml"), tmp_path / "log"
    both = [python(MAKER, three[0].folder, path, tmp_path / "cache", log, rank) for rank in (0, 1)]
    for process in both:
        output, _ = process.communicate(timeout=90)
        assert process.returncode == 0, output
        assert output.strip() == "['p0', 'p1', 'p2']"
    assert sorted(log.read_text().split()) == ["p0", "p1", "p2"]
    assert {file.suffix for file in (tmp_path / "cache").rglob("*") if file.is_file()} == {".case"}


HOLDER = """
import sys, time
from pathlib import Path
from rtseg_training.learn.cache import sole_maker
with sole_maker(Path(sys.argv[1])) as file:
    file.write(b"half of a case")
    file.flush()
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_maker_hinders_nobody_and_is_waited_for_while_it_lives(
    three: list[Listed], recipe: Recipe, tmp_path: Path
) -> None:
    path = place_of(three[0], recipe, tmp_path)
    path.parent.mkdir(parents=True)
    holder = python(HOLDER, path.with_suffix(".partial"))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    script = "import os, signal, sys, time; time.sleep(1.0); os.kill(int(sys.argv[1]), signal.SIGKILL)"
    killer, began = python(script, holder.pid), time.monotonic()
    (found,) = ready_cases(three[:1], recipe, tmp_path)
    assert time.monotonic() - began > 0.9
    assert int(found.counts[1:].sum()) > 0
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert holder.wait(10) == -signal.SIGKILL
    killer.wait(10)
    for process in (holder, killer):
        process.stdout.close()  # type: ignore[union-attr]


def test_a_full_disk_while_preparing_names_the_case_and_what_to_do(
    three: list[Listed], recipe: Recipe, tmp_path: Path
) -> None:
    words = r"case p0: .*\.case cannot be written .* make room, or name a folder on another disk with --cache"
    with no_room(5000), pytest.raises(CaseError, match=words):
        ready_cases(three, recipe, tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(ready_cases(three, recipe, tmp_path)) == 3


def test_a_file_that_was_cut_off_is_made_anew(three: list[Listed], recipe: Recipe, tmp_path: Path) -> None:
    ready_cases(three[:1], recipe, tmp_path)
    path = place_of(three[0], recipe, tmp_path)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:100], b"", b"no json\n" + whole[8:]):
        path.write_bytes(damaged)
        ready_cases(three[:1], recipe, tmp_path)
        assert path.read_bytes() == whole


def test_a_file_that_goes_while_it_is_used_is_named(three: list[Listed], recipe: Recipe, tmp_path: Path) -> None:
    (found,) = ready_cases(three[:1], recipe, tmp_path)
    place_of(three[0], recipe, tmp_path).unlink()
    with pytest.raises(CaseError, match=r"case p0: .*\.case cannot be read any more; run the command again"):
        found.hu  # noqa: B018 (the look is what is tested)


def test_several_processes_make_what_one_makes(
    three: list[Listed], kept: tuple[Path, list[OnDisk]], recipe: Recipe, tmp_path: Path
) -> None:
    ticked: list[str] = []
    found = ready_cases(three, recipe, tmp_path, makers=2, tick=ticked.append)
    assert sorted(ticked) == ["p0", "p1", "p2"]
    for one, theirs in zip(three, kept[1], strict=True):
        assert place_of(one, recipe, tmp_path).read_bytes() == theirs.path.read_bytes()
    assert [one.name for one in found] == ["p0", "p1", "p2"]


class KilledPool:
    """Processes of which the system has killed one."""

    def __init__(self, *_arguments: object) -> None: ...
    def __enter__(self) -> "KilledPool":
        return self

    def __exit__(self, *_arguments: object) -> None: ...
    def shutdown(self, **_arguments: object) -> None: ...
    def submit(self, *_arguments: object) -> Future[None]:
        broken: Future[None] = Future()
        broken.set_exception(BrokenProcessPool("a child process terminated abruptly"))
        return broken


def test_a_maker_that_the_system_kills_is_a_sentence(
    three: list[Listed], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "ProcessPoolExecutor", KilledPool)
    with pytest.raises(CaseError, match=r"most likely for want of memory; run the command again with --makers 1"):
        make_all([(one, tmp_path / one.name) for one in three], recipe, 2, lambda _name: None)


@pytest.mark.parametrize(
    ("gib", "cores", "missing", "wanted", "expected"),
    [
        (24, 16, 500, 0, 12),
        (24, 4, 500, 0, 4),
        (1, 16, 500, 0, 1),
        (24, 16, 2, 0, 1),
        (1, 2, 500, 6, 6),
        (24, 8, 3, 6, 3),
    ],
)
def test_makers_are_as_many_as_cores_memory_and_cases_allow(
    gib: int, cores: int, missing: int, wanted: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "available_bytes", lambda: gib * 2**30)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert makers_for(missing, wanted) == expected
