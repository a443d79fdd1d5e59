"""Windows cover the volume, blend without a seam and keep the training shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtseg_daemon.anatomy.volume import AIR_HU
from rtseg_daemon.bundles import Bundle, MemberFile, OrganClass
from rtseg_daemon.segment.body import centre_box
from rtseg_daemon.segment.infer import (
    member_probabilities,
    network_input,
    padded_window,
    plan_windows,
    window_for,
    window_starts,
)


@given(st.integers(1, 400), st.integers(8, 96), st.floats(0, 0.7))
def test_windows_cover_every_voxel_and_stay_inside(length, window, overlap):
    starts = window_starts(length, window, overlap)
    covered = np.zeros(length, bool)
    for start in starts:
        covered[max(0, start) : start + window] = True
    assert covered.all()
    if length >= window:
        assert starts[0] == 0
        assert starts[-1] == length - window
        steps = np.diff(starts)
        assert steps.size == 0 or steps.max() <= window * (1 - overlap) + 1


TRIPLE = st.tuples(*[st.integers(1, 200)] * 3)


@given(TRIPLE, TRIPLE, TRIPLE)
def test_a_window_grows_by_whole_steps_and_no_further_than_the_volume_needs(shape, window, step):
    grown = window_for(shape, window, step)
    for n, w, s, g in zip(shape, window, step, grown, strict=True):
        assert g >= n
        assert (g - w) % s == 0
        assert g == w or g - s < n
    assert window_for(shape, window, None) == window


def test_a_small_volume_gets_one_window_in_its_middle():
    assert plan_windows((10, 8, 6), (16, 8, 8), 0.25) == [(-3, 0, -1)]


@given(
    st.tuples(*[st.integers(4, 40)] * 3),
    st.tuples(*[st.floats(0.3, 9.7)] * 3),
    st.tuples(*[st.integers(4, 60)] * 3),
    st.integers(0, 2**32 - 1),
)
def test_a_window_as_large_as_the_crop_is_one_window_whatever_the_patient(window, spacing, shape, seed):
    corners = np.sort(np.random.default_rng(seed).integers(0, np.array(shape) + 1, (2, 3)), axis=0)
    body = np.zeros(shape, bool)
    body[tuple(slice(a, max(a + 1, b)) for a, b in corners.T)] = True
    body[tuple(n // 2 for n in shape)] = True
    box = centre_box(body, spacing, tuple(n * s for n, s in zip(window, spacing, strict=True)))
    assert all(n <= w for n, w in zip(box.shape, window, strict=True))
    assert len(plan_windows(box.shape, window, 0.25)) == 1


@pytest.mark.parametrize("intensity", ["SLF1", "SLF2", "SLF3", "NLF1", "NLF2", "GTV"])
def test_a_voxel_looks_the_same_to_the_network_in_every_window(intensity):
    hu = np.random.default_rng(1).uniform(-1024, 2000, (6, 7, 8)).astype(np.float32)
    whole = network_input(hu, intensity)
    assert np.array_equal(network_input(hu[1:3, 2:5, 3:4], intensity), whole[1:3, 2:5, 3:4])
    air = float(network_input(np.array([AIR_HU]), intensity)[0])
    padded = network_input(padded_window(hu, (-2, 0, 0), (8, 7, 8), AIR_HU), intensity)
    assert np.array_equal(padded, padded_window(whole, (-2, 0, 0), (8, 7, 8), air))


def test_padding_is_air():
    out = padded_window(np.ones((2, 2, 2)), (-1, 0, 1), (4, 2, 2), -1.0)
    assert out[0].tolist() == [[-1, -1], [-1, -1]]
    assert out[1].tolist() == [[1, -1], [1, -1]]


def bundle(members):
    return Bundle(
        format=1,
        name="test",
        version="1",
        intended_use="evaluation",
        description="test",
        family="sepnet",
        arguments={},
        classes=[OrganClass(name="Brainstem", weights=[1.0] * len(members))],
        members=members,
        spacing_mm=(1, 1, 1),
        window=(8, 8, 8),
        extent_mm=(100, 100, 100),
    )


class Sided:
    """An engine that finds the left parotid where its window is brighter left of its middle, else the right one."""

    description = "sided"

    def placed(self, array):
        return array

    def run(self, work):
        for _member, window in work:
            left = window * (np.arange(window.shape[2]) >= window.shape[2] // 2)
            yield np.stack([1 - window, left, window - left])


@pytest.mark.parametrize("step", [None, (8, 8, 8)])
def test_a_mirrored_member_tells_left_from_right_as_the_others_do(step):
    hu = np.random.default_rng(0).uniform(-100, 100, (13, 11, 8)).astype(np.float32)
    plain = MemberFile(name="a", file="a", sha256="0", intensity="NLF1")
    both = bundle([plain, plain.model_copy(update={"name": "b", "mirror": True})])
    names = [OrganClass(name=n, weights=[1.0, 1.0]) for n in ("Parotid_L", "Parotid_R")]
    both = both.model_copy(update={"classes": names, "window_step": step})
    upright, turned = (p.copy() for p in member_probabilities(Sided(), both, hu, lambda: None))
    assert turned == pytest.approx(upright, abs=1e-6)
    assert upright[1, :, :, 4:].max() > 0.9
    assert upright[1, :, :, :4].max() == 0


class Echo:
    """An engine whose organ probability is its input, whatever the window."""

    description = "echo"

    def __init__(self):
        self.seen = []

    def placed(self, array):
        return array

    def run(self, work):
        for _member, window in work:
            assert all(n % 8 == 0 for n in window.shape)
            self.seen.append(window.shape)
            yield np.stack([1 - window, window])


def test_blending_is_without_a_seam_and_each_member_gets_its_own_intensities():
    hu = np.random.default_rng(0).uniform(-700, 900, (13, 11, 7)).astype(np.float32)
    members = [
        MemberFile(name="a", file="a", sha256="0", intensity="NLF1"),
        MemberFile(name="b", file="b", sha256="0", intensity="NLF2"),
    ]
    beats, echo = [], Echo()
    maps = [p.copy() for p in member_probabilities(echo, bundle(members), hu, lambda: beats.append(1))]
    assert maps[0][1] == pytest.approx(np.clip((hu + 100) / 200, 0, 1), abs=1e-5)
    assert maps[1][1] == pytest.approx(np.clip((hu + 500) / 1300, 0, 1), abs=1e-5)
    assert len(beats) == 2 * len(plan_windows((13, 11, 7), (8, 8, 8), 0.25))
    assert set(echo.seen) == {(8, 8, 8)}
    whole = bundle(members).model_copy(update={"window_step": (8, 16, 8)})
    for p, blended in zip(member_probabilities(echo, whole, hu, lambda: None), maps, strict=True):
        assert p == pytest.approx(blended, abs=1e-5)
    assert echo.seen[-2:] == [(16, 24, 8)] * 2
