"""Uncertainty figures against the papers' values."""

import math

import numpy as np
import pytest

from rtseg_daemon.anatomy.organ import Flag, Organ, Uncertainty
from rtseg_daemon.segment.ensemble import Ensemble, class_weights, combine
from rtseg_daemon.segment.uncertainty import (
    disagreement,
    expected_dice,
    organ_uncertainty,
    pairwise_dice,
    tempered,
    volume_variation,
    vote_entropy,
)


@pytest.mark.parametrize(
    ("votes", "entropy"),
    [
        ([1, 1, 1, 1, 1, 1], 0.0),
        ([1, 1, 1, 1, 1, 0], 0.4506),
        ([1, 1, 1, 1, 0, 0], 0.6365),
        ([1, 1, 1, 0, 0, 0], 0.6931),
        ([1, 1, 1, 1, 0, 2], 0.8676),
        ([1, 1, 1, 0, 0, 2], 1.0114),
        ([1, 1, 0, 0, 2, 2], 1.0986),
        ([0, 1, 2, 3, 4, 5], 1.7918),
    ],
)
def test_vote_entropy_takes_the_papers_values(votes, entropy):
    voxel = np.array(votes, np.uint8).reshape(6, 1, 1, 1)
    assert vote_entropy(voxel, 6).item() == pytest.approx(entropy, abs=5e-5)


def test_vvc_is_sigma_over_mu_and_not_its_inverse():
    assert volume_variation([90.0, 110.0]) == pytest.approx(0.1)
    assert volume_variation([0.0, 0.0]) is None


def test_pairwise_dice_by_hand():
    votes = np.zeros((3, 1, 1, 4), np.uint8)
    votes[0, 0, 0, :2] = 1
    votes[1, 0, 0, 1:3] = 1
    p = np.full((3, 1, 1, 4), 1 / 3, np.float32)
    ensemble = Ensemble(p, votes[0], votes, p[0])
    everywhere = (slice(None),) * 3
    # pairs: (2*1)/(2+2), 0/(2+0), 0/(2+0)
    of = {k: organ_uncertainty(ensemble, p[0], k, everywhere, 1.0).pairwise_dice for k in (1, 2)}
    assert of[1] == pytest.approx((0.5 + 0 + 0) / 3)
    assert of[2] is None
    assert pairwise_dice([2, 2, 0], [1, 0, 0]) == pytest.approx((0.5 + 0 + 0) / 3)
    assert pairwise_dice([0, 0, 0], [0, 0, 0]) is None


def test_temperature_flattens_without_changing_the_order():
    p = np.array([0.1, 0.2, 0.7]).reshape(3, 1, 1, 1)
    flat = tempered(p, 2.0).ravel()
    assert flat.sum() == pytest.approx(1)
    assert flat.argmax() == 2
    assert flat[2] < 0.7
    assert tempered(p, 1.0) is p


@pytest.mark.parametrize("temperature", [1.0, 3.25])
@pytest.mark.parametrize(
    ("members", "information"),
    [([0.8, 0.8, 0.8, 0.8], 0.0), ([1.0, 1.0, 0.0, 0.0], math.log(2)), ([0.9, 0.9, 0.5, 0.5], 0.6109 - 0.5091)],
)
def test_mutual_information_is_nothing_where_all_members_say_the_same(members, information, temperature):
    """H(mean p) - mean H(p): H(0.7) = 0.6109, (H(0.9) + H(0.5)) / 2 = 0.5091 nats, whatever the temperature."""
    answers = [np.array([1 - p, p], np.float32).reshape(2, 1, 1, 1) for p in members]
    ensemble = combine(answers, class_weights([[1.0] * 4], 4))
    whole = (slice(None),) * 3
    said = organ_uncertainty(ensemble, vote_entropy(ensemble.votes, 2), int(ensemble.labels.item()), whole, temperature)
    assert ensemble.labels.item() == 1 or members[-1] == 0.0
    assert said.mutual_information == pytest.approx(information, abs=1e-4)


@pytest.mark.parametrize(
    ("hot", "answer"),
    [
        ([0, 1], (0, 1, "inferior end")),
        ([8, 9], (8, 9, "superior end")),
        ([4, 5, 6, 9], (4, 6, "middle")),
        ([], None),
        (list(range(10)), (0, 9, "whole length")),
    ],
)
def test_where_the_members_disagree(hot, answer):
    mask = np.ones((10, 2, 2), bool)
    entropy = np.zeros((10, 2, 2))
    entropy[hot] = 0.6
    assert disagreement(entropy, mask) == answer


def test_comment_line_as_the_contract_shows_it():
    organ = Organ(
        "Parotid_L",
        None,
        None,
        None,
        0.0,
        Uncertainty(vvc=0.142, entropy=0.31),
        predicted_dice=0.78,
        interval=(0.69, 0.85),
        flag=Flag.REVIEW,
        slices=(41, 47),
        reasons=("members disagree at the inferior end",),
    )
    assert organ.comment == (
        'REVIEW vvc=0.142 entropy=0.31 dice=0.78[0.69-0.85] slices=41-47 reason="members disagree at the inferior end"'
    )


def test_comment_says_na_where_there_is_no_figure_and_stays_within_1024_characters():
    assert Organ("X", None, None, None, 0.0).comment == "OK vvc=na entropy=na"
    assert len(Organ("X", None, None, None, 0.0, reasons=("long " * 400,)).comment) <= 1024


def test_the_expected_dice_counts_each_voxel_by_its_probability():
    p = np.array([[[1.0, 0.5, 0.25, 0.0]]], np.float32)
    both = np.stack([1 - p, p])
    mask = (p >= 0.5).astype(np.uint8)
    found = organ_uncertainty(Ensemble(both, mask, mask[None], p), p, 1, (slice(None),) * 3, 1.0)
    assert found.expected_dice == pytest.approx(2 * 1.5 / (2 + 1.75))
    assert expected_dice(4.0, 4, 4.0) == 1.0
