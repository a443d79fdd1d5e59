"""Calibration on members whose quality is known: the ranks, scales, predictions and intervals must find it."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from rtseg_training.bundle.calibrate import Result, calibrate, voter_scores
from rtseg_training.bundle.card import model_card
from rtseg_training.bundle.collect import Collected, member_scores, without_hu
from rtseg_training.bundle.kept import Store
from rtseg_training.bundle.weighing import answer, scale_scores
from rtseg_training.errors import CalibrationError
from rtseg_training.measure.evaluate import truth_on
from rtseg_training.measure.tables import level_table, markdown, read_csv, summary, write_report
from rtseg_training.sets.cases import Case

from rtseg_daemon.anatomy.volume import Array, grid_of
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.segment.pipeline import Segmenter, to_network_grid
from tests.unit.training.conftest import ORGANS

MEMBERS = ("good", "fair", "poor")
NOISE = (1.0, 1.4, 2.4)
CASES = 16


class NoEngine:
    """Calibration must work from stored members."""

    description = "none"

    def probabilities(self, member: int, window: Array) -> Array:
        raise AssertionError("calibration ran inference")


def bundle_of(organs: list[str]) -> Bundle:
    members = [{"name": n, "file": f"{n}.safetensors", "sha256": "0" * 64, "intensity": "SLF1"} for n in MEMBERS]
    return Bundle.model_validate(
        {
            "format": 1, "name": "tiny", "version": "1.0", "intended_use": "evaluation", "description": "for tests",
            "family": "sepnet", "arguments": {"width": 2}, "members": members, "spacing_mm": (5.0, 8.0, 8.0),
            "classes": [{"name": name, "weights": [1.0] * 3} for name in organs],
            "window": (40, 24, 24), "extent_mm": (200.0, 192.0, 192.0),
        }
    )  # fmt: skip


def noisy_members(truth: Array, classes: int, difficulty: float, seed: int) -> Array:
    """Members that see the truth through noise and, as a weighted loss teaches, find organs three times too likely."""
    rng = np.random.default_rng(seed)
    wanted = 4.0 * np.eye(classes)[truth].transpose(3, 0, 1, 2)
    common = rng.normal(size=wanted.shape)
    out = []
    for noise in NOISE:
        own = rng.normal(size=wanted.shape)
        logits = wanted + difficulty * noise * (0.5 * common + own)
        logits[1:] += np.log(3.0)
        p = np.exp(logits - logits.max(axis=0))
        out.append(p / p.sum(axis=0))
    return np.asarray(out, np.float16)


def itself(case: Case) -> Case:
    """Where a case on disk would be read."""
    return case


def stored(path: Path, truth: Array, members: Array) -> Store:
    """What `collect` keeps of a case."""
    store = Store(path)
    for _ in store.write(truth, iter(members.astype(np.float32))):
        pass
    return store


def collected_cases(case: Case, bundle: Bundle, folder: Path, count: int) -> list[Collected]:
    """`count` cases of one anatomy whose images are more or less difficult."""
    network = to_network_grid(case.ct, bundle)
    truth, annotated = truth_on(network, case, bundle.classes)
    out = []
    for number in range(count):
        difficulty = 0.6 + 1.0 * ((number * 7) % count) / count
        members = noisy_members(truth, len(annotated), difficulty, number)
        named = Case(f"case{number}", case.ct, case.bits, case.structures, case.status)
        scores = [member_scores(p.astype(np.float32), truth, [True] * (len(annotated) - 1)) for p in members]
        store = stored(folder / f"{number}.npz", truth, members)
        out.append(
            Collected(
                named.name, named.patient, partial(itself, named), grid_of(case.ct), without_hu(network), annotated,
                store, np.asarray(scores),
            )
        )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def result(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Result:
    bundle = bundle_of(ORGANS)
    collected = collected_cases(case, bundle, tmp_path_factory.mktemp("members"), CASES)
    return calibrate(Segmenter(bundle, NoEngine()), collected)


def test_members_are_weighed_by_their_rank(result: Result) -> None:
    for organ in result.bundle.classes:
        assert organ.weights == [5.0, 4.0, 3.0]
    means = result.member_means
    assert means["good"] > means["fair"] > means["poor"]
    assert means["ensemble"] > means["fair"]


def test_the_scale_takes_back_what_a_weighted_loss_added(result: Result) -> None:
    for organ in result.bundle.classes:
        assert organ.scale < 0.8


def test_predicted_dice_follows_the_true_one(result: Result) -> None:
    assert result.figures["correlation"] > 0.8
    assert result.figures["mean_absolute_error"] < 0.08
    assert result.figures["auroc"] > 0.85


def test_intervals_cover_nine_in_ten(result: Result) -> None:
    figures = result.figures
    assert figures["coverage_low"] <= 0.9 <= figures["coverage_high"]
    assert 0.8 <= figures["coverage"] <= 1.0


def test_every_class_carries_its_calibration(result: Result) -> None:
    for organ in result.bundle.classes:
        assert organ.calibration is not None
        assert (organ.review_below, organ.reject_below) == (None, None)
        assert set(organ.calibration.coefficients) >= {"vvc", "pairwise_dice", "soft_entropy"}
        assert organ.calibration.spread is not None
        assert organ.calibration.spread.residuals == sorted(organ.calibration.spread.residuals)
    assert 0 < result.bundle.review_above <= result.bundle.reject_above <= 1


def test_the_daemon_predicts_what_the_calibration_fitted(result: Result, case: Case, tmp_path: Path) -> None:
    """The regression in bundle.yaml, read by the daemon's own code, comes near the true Dice."""
    assert Bundle.model_validate(yaml.safe_load(yaml.safe_dump(result.bundle.model_dump(mode="json")))) == result.bundle
    rows = [row for row in result.evaluation.rows if row["case"] == "case3"]
    assert {row["organ"] for row in rows} == set(ORGANS)
    assert all(float(row["low"]) <= float(row["predicted"]) <= float(row["high"]) for row in rows)


def test_rings_begin_where_half_of_the_voxels_are_wrong(result: Result) -> None:
    level, levels = result.bundle.entropy_level, result.evaluation.levels
    beyond = [counts for value, counts in levels.items() if value >= level]
    assert beyond
    assert 2 * sum(wrong for _, wrong in beyond) >= sum(voxels for voxels, _ in beyond)


def test_temperature_makes_voxels_more_honest(result: Result) -> None:
    assert result.figures["ece_voxels"] <= result.figures["ece_voxels_raw"] + 1e-9


def test_report_and_card_hold_the_figures(result: Result, tmp_path: Path) -> None:
    write_report(tmp_path, result.evaluation, 3.0, "tiny")
    assert len(read_csv(tmp_path / "cases.csv")) == CASES * len(ORGANS)
    assert "| Parotid_L | 16 | 0 |" in markdown(result.evaluation, 3.0)
    assert "| 0.6365 |" in level_table(result.evaluation)
    figures = summary(result.evaluation) | {"calibration": result.figures, "members": result.member_means}
    card = model_card(result.bundle.model_copy(update={"figures": figures}))
    assert f"AUROC {result.figures['auroc']:.3f}" in card
    assert f"{figures['Parotid_L']['dice']:.3f}" in card
    assert "not for treatment" in card


def test_too_few_cases_are_refused(case: Case, tmp_path: Path) -> None:
    bundle = bundle_of(ORGANS)
    collected = collected_cases(case, bundle, tmp_path, 4)
    with pytest.raises(CalibrationError, match="at least 8 validation cases"):
        calibrate(Segmenter(bundle, NoEngine()), collected)


def test_an_organ_that_vanishes_on_the_networks_grid_scores_nothing(case: Case, tmp_path: Path) -> None:
    bundle = bundle_of(ORGANS)
    (seen,) = collected_cases(case, bundle, tmp_path, 1)
    truth = np.where(seen.truth == 1, 0, seen.truth)
    members = np.asarray(list(seen.members()))
    members[:, 1] = 0.0  # nobody finds it
    scores = np.asarray([member_scores(p.astype(np.float32), truth, [True] * len(ORGANS)) for p in members])
    assert np.isnan(scores[:, 0]).all()
    assert np.isfinite(scores[:, 1:]).all()
    vanished = replace(seen, store=stored(tmp_path / "vanished.npz", truth, members), member_dice=scores)
    ensemble = answer(Segmenter(bundle, NoEngine()), vanished)
    for found in (voter_scores(vanished, ensemble).T, scale_scores(vanished, ensemble)):
        assert np.isnan(found[0]).all()
        assert np.isfinite(found[1:]).all()
