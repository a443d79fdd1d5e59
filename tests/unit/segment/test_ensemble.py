"""Class-wise weights, votes and entropies against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtseg_daemon.segment.ensemble import class_weights, combine, corrected, entropy_of, winner


def test_weights_sum_to_one_for_every_class_and_the_background_counts_members_equally():
    weights = class_weights([[5, 4, 3, 1, 1, 1], [1, 1, 1, 3, 4, 5]], 6)
    assert weights.shape == (6, 3)
    assert weights.sum(axis=0) == pytest.approx([1, 1, 1])
    assert weights[0] == pytest.approx([1 / 6, 5 / 15, 1 / 15])


def test_probabilities_are_renormalised_after_class_wise_weighting():
    a = np.array([0.2, 0.8], np.float32).reshape(2, 1, 1, 1)
    b = np.array([0.6, 0.4], np.float32).reshape(2, 1, 1, 1)
    out = combine([a, b], class_weights([[3, 1]], 2))
    # background (0.2 + 0.6) / 2 = 0.4; organ (3 * 0.8 + 0.4) / 4 = 0.7; divided by 1.1
    assert out.probabilities.ravel() == pytest.approx([0.4 / 1.1, 0.7 / 1.1])
    assert out.labels.item() == 1
    assert out.votes.ravel().tolist() == [1, 0]


def test_a_scale_undoes_the_weight_that_a_class_had_in_training():
    p = np.array([0.4, 0.4, 0.2], np.float32).reshape(3, 1, 1, 1)
    (out,) = corrected([p.copy()], np.array([1.0, 0.25, 1.0], np.float32))
    # 0.4, 0.1 and 0.2, divided by their sum 0.7
    assert out.ravel() == pytest.approx([4 / 7, 1 / 7, 2 / 7])
    (same,) = corrected([p.copy()], np.ones(3, np.float32))
    assert np.array_equal(same, p)


def test_members_are_summed_while_they_arrive_so_one_buffer_serves_all():
    buffer = np.empty((2, 1, 1, 1), np.float32)

    def members():
        for p in (0.9, 0.1):
            buffer[:] = np.array([p, 1 - p]).reshape(2, 1, 1, 1)
            yield buffer

    out = combine(members(), class_weights([[1, 1]], 2))
    assert out.probabilities.ravel() == pytest.approx([0.5, 0.5])


def test_entropy_of_an_even_choice_is_ln_n():
    assert entropy_of(np.full((4, 1, 1, 1), 0.25, np.float32)).item() == pytest.approx(np.log(4), rel=1e-6)


def test_no_member_is_an_error():
    with pytest.raises(ValueError, match="at least one member"):
        combine([], class_weights([], 1))


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_the_winner_is_the_first_class_of_the_largest_probability(seed, classes):
    p = np.random.default_rng(seed).integers(0, 3, (classes, 3, 4, 5)).astype(np.float32)
    label = winner(p)
    assert label.dtype == np.uint8
    assert np.array_equal(label, p.argmax(axis=0))
