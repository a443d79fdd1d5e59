"""What is given up first where memory is short, and how shortage is recognised."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtseg_daemon.segment.engines.memory import (
    COMFORT_BYTES,
    GIB,
    RESERVE_BYTES,
    SMALLEST_SIDE,
    MemoryPlan,
    attempts,
    available_bytes,
    halved,
    out_of_memory,
    plan,
    reduced,
    smaller_windows,
)
from tests.structure_sets import tiny_bundle

WINDOW = (96, 64, 64)
MB = 2**20


def planned(one: int, available: int, members: int = 6) -> MemoryPlan:
    """For windows that take `one` bytes at full size and in proportion when smaller."""
    whole = WINDOW[0] * WINDOW[1] * WINDOW[2]
    return plan(WINDOW, (8, 8, 8), members, 2, lambda w: one * w[0] * w[1] * w[2] // whole, available)


@pytest.mark.parametrize(
    ("one", "available", "expected"),
    [
        (76 * MB, 16 * GIB, MemoryPlan(WINDOW, 2, True)),
        (300 * MB, 16 * GIB, MemoryPlan(WINDOW, 1, True)),
        (600 * MB, 16 * GIB, MemoryPlan(WINDOW, 2, False)),
        (600 * MB, 700 * MB, MemoryPlan(WINDOW, 1, False)),
        (600 * MB, 300 * MB, MemoryPlan((48, 64, 64), 1, False)),
        (600 * MB, 150 * MB, MemoryPlan((48, 32, 64), 1, False)),
        (600 * MB, 0, MemoryPlan((48, 32, 32), 1, False)),
    ],
)
def test_speed_is_given_up_before_the_window(one, available, expected):
    assert planned(one, available) == expected


WHOLE = (176, 80, 64)


@pytest.mark.parametrize(
    ("one", "available", "expected"),
    [
        (400 * MB, 16 * GIB, MemoryPlan(WINDOW, 2, True, whole=True)),
        (700 * MB, 16 * GIB, MemoryPlan(WINDOW, 2, False, whole=True)),
        (700 * MB, 1 * GIB, MemoryPlan(WINDOW, 1, False, whole=True)),
        (700 * MB, 650 * MB, MemoryPlan(WINDOW, 2, False)),
        (700 * MB, 200 * MB, MemoryPlan((48, 64, 64), 1, False)),
    ],
)
def test_volumes_stay_whole_as_long_as_one_fits(one, available, expected):
    voxels = WHOLE[0] * WHOLE[1] * WHOLE[2]
    assert plan(WINDOW, (8, 8, 8), 6, 2, lambda w: one * w[0] * w[1] * w[2] // voxels, available, WHOLE) == expected


@given(st.integers(1, 4 * GIB), st.integers(1, 32 * GIB), st.integers(1, 8))
def test_what_is_planned_fits_and_what_members_keep_leaves_the_worker_below_its_bound(one, available, members):
    chosen = planned(one, available, members)
    if chosen.window == WINDOW:
        held = one * chosen.streams * (members if chosen.resident else 1)
        assert held <= (min(available, COMFORT_BYTES) if chosen.resident else available)
    else:
        assert one > available


@given(*[st.tuples(*[st.integers(1, 40)] * 3)] * 1, st.sampled_from([(8, 8, 8), (1, 8, 8), (2, 2, 2)]))
def test_smaller_windows_are_multiples_of_what_the_network_halves(sides, divisor):
    window = tuple(n * d for n, d in zip(sides, divisor, strict=True))
    before = window
    for smaller in smaller_windows(window, divisor):
        assert all(n % d == 0 for n, d in zip(smaller, divisor, strict=True))
        changed = [a for a in range(3) if smaller[a] != before[a]]
        assert len(changed) == 1
        assert SMALLEST_SIDE <= smaller[changed[0]] <= before[changed[0]] / 2
        before = smaller


def test_smaller_windows_are_told_and_those_of_training_are_not():
    bundle = tiny_bundle("Brainstem", window=WINDOW)
    whole = tiny_bundle("Brainstem", window=WINDOW, window_step=(8, 8, 8))
    assert reduced(bundle, bundle) == reduced(whole, whole) == ""
    assert "48 x 64 x 64 voxels instead of 96 x 64 x 64" in reduced(halved(bundle, 1), bundle)
    assert "96 x 64 x 64 voxels instead of whole volumes" in reduced(halved(whole, 1), whole)
    assert halved(whole, 2).window == (48, 64, 64)
    assert list(attempts("cpu", [whole])) == [("cpu", 0), ("cpu", 1), ("cpu", 2), ("cpu", 3)]
    assert list(attempts("cpu", [bundle])) == [("cpu", 0), ("cpu", 1), ("cpu", 2)]


class OutOfMemoryError(RuntimeError):
    """As torch.cuda names it."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA: tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223:\nstd::bad_alloc"),
    ],
)
def test_every_backends_way_to_say_that_memory_ran_out_is_understood(error):
    assert out_of_memory(error)
    wrapped = ValueError("inference failed")
    wrapped.__cause__ = error
    assert out_of_memory(wrapped)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    assert not out_of_memory(RuntimeError("else"))


@pytest.fixture
def machine(tmp_path):
    """A root folder with 8 GiB available, and a control group that tests fill in."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    return tmp_path


def test_available_is_what_the_kernel_estimates_less_the_reserve(machine):
    assert available_bytes(machine) == 8 * GIB - RESERVE_BYTES


def test_a_container_has_what_its_limit_leaves_page_cache_not_counted(machine):
    group = machine / "sys/fs/cgroup"
    (group / "memory.max").write_text(f"{4 * GIB}\n")
    (group / "memory.current").write_text(f"{3 * GIB}\n")
    (group / "memory.stat").write_text(f"anon {GIB}\ninactive_file {GIB}\n")
    assert available_bytes(machine) == 2 * GIB - RESERVE_BYTES
    (group / "memory.max").write_text("max\n")
    assert available_bytes(machine) == 8 * GIB - RESERVE_BYTES


def test_a_machine_that_tells_nothing_limits_nothing(tmp_path):
    assert available_bytes(tmp_path) > 1000 * GIB
