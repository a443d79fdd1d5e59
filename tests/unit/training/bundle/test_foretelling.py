"""What figures foretell of a Dice, on made-up organs whose Dice follows them."""

import numpy as np
import pytest
from rtseg_training.bundle.calibrate import aligned
from rtseg_training.bundle.foretelling import (
    ATTENTION,
    BESIDE,
    calibrations,
    fit,
    known_rows,
    patient_of,
    quality,
    scales_by,
    spreads_of,
    widened,
    wrong_truth,
)
from rtseg_training.errors import CalibrationError
from rtseg_training.measure.evaluate import TableRow

from rtseg_daemon.segment.prediction import interval, predict_dice, unacceptable

ORGANS = ["Parotid_L", "Larynx"]
LIMITS = [0.6, 0.5]


def rows_of(patients: int, fault: str = "", beside: bool = False, seed: int = 0) -> list[TableRow]:
    """Organs whose Dice falls with `vvc`: by 0.8 from 0 to 1, the larynx 0.1 below the gland."""
    rng = np.random.default_rng(seed)
    out: list[TableRow] = []
    for number in range(patients):
        for organ, top in zip(ORGANS, (0.9, 0.8), strict=True):
            vvc = float(rng.beta(1, 6)) if not fault else float(rng.uniform(0.3, 1.0))
            dice = float(np.clip(top - 0.8 * vvc + 0.03 * rng.normal(), 0, 1))
            row: TableRow = {"case": f"p{number}{'b' if beside else ''}", "organ": organ, "dice": dice, "true_ml": 20.0}
            row |= {"volume_ml": 20.0, "vvc": vvc, "pairwise_dice": 1 - vvc, "fault": fault}
            if fault:
                row["case"] = f"{row['case']}: {fault}"
            if beside:
                row[BESIDE] = 1.0
            out.append(row)
    return out


def folds(rows: list[TableRow]) -> dict[str, int]:
    return {name: i % 8 for i, name in enumerate(sorted({patient_of(row) for row in rows}))}


def test_predictions_follow_and_intervals_hold_for_every_organ() -> None:
    rows = rows_of(200) + rows_of(100, "noise", seed=1)
    fitted = fit(rows, ORGANS, folds(rows), LIMITS)
    figures = quality(fitted, ORGANS, LIMITS)
    assert figures["correlation"] > 0.9
    assert figures["auroc"] > 0.9
    assert figures["auroc_half"] > 0.95
    for organ in ORGANS:
        assert 0.85 <= figures[f"coverage {organ}"] <= 0.95
    assert (figures["organs"], figures["copies"], figures["organs_beside"]) == (400, 200, 0)


def test_what_the_prediction_adds_to_the_members_agreement_is_told_with_its_interval() -> None:
    rows = rows_of(60) + rows_of(60, "noise", seed=1)
    rng = np.random.default_rng(5)
    for row in rows:
        row["pairwise_dice"] = float(rng.uniform())
    figures = quality(fit(rows, ORGANS, folds(rows), LIMITS), ORGANS, LIMITS)
    for name in ("auroc", "aurc", "risk_at_85"):
        assert 0 < figures[f"gain_{name}_low"] < figures[f"gain_{name}"] < figures[f"gain_{name}_high"]


def test_as_many_unaltered_organs_are_flagged_as_a_person_can_read() -> None:
    rows = rows_of(200) + rows_of(100, "noise", seed=1)
    figures = quality(fit(rows, ORGANS, folds(rows), LIMITS), ORGANS, LIMITS)
    assert figures["flagged"] == pytest.approx(ATTENTION, abs=0.02)
    assert figures["caught"] > 0.6


def test_the_daemon_claims_what_was_fitted() -> None:
    rows = rows_of(200)
    fitted = fit(rows, ORGANS, folds(rows), LIMITS)
    gland, larynx = calibrations(fitted, 2)
    sure, unsure = {"vvc": 0.05, "pairwise_dice": 0.95}, {"vvc": 0.6, "pairwise_dice": 0.4}
    dice, interval = predict_dice(gland, sure)
    assert dice == pytest.approx(0.86, abs=0.03)
    assert interval is not None
    assert interval[0] < dice < interval[1]
    assert predict_dice(larynx, sure)[0] == pytest.approx(0.76, abs=0.03)
    low, high = unacceptable(gland, sure, 0.6), unacceptable(gland, unsure, 0.6)
    assert low is not None
    assert high is not None
    assert low < 0.02 < 0.8 < high


def test_copies_teach_failures_that_unaltered_patients_do_not_show() -> None:
    good = [row for row in rows_of(200) if float(row["vvc"]) < 0.2]
    copies = rows_of(100, "noise", seed=1)
    alone, taught = (
        predict_dice(calibrations(fit(rows, ORGANS, folds(rows), LIMITS), 2)[0], {"vvc": 0.9, "pairwise_dice": 0.1})[0]
        for rows in (good, good + copies)
    )
    assert taught is not None
    assert alone is not None
    assert abs(taught - 0.18) < 0.1
    assert abs(taught - 0.18) < abs(alone - 0.18) + 1e-9


def test_intervals_that_hold_too_seldom_are_made_wider_by_what_they_lack() -> None:
    rows = rows_of(200)
    fitted = fit(rows, ORGANS, folds(rows), LIMITS)
    known, every = fitted.known, np.ones(len(fitted.known.y), bool)
    right = spreads_of(known, known.y - fitted.predicted, every, 2)
    narrow = [s.model_copy(update={"residuals": [r / 3 for r in s.residuals]}) for s in right]
    again = widened(narrow, known, fitted.predicted, every)
    scale = scales_by(again, known, every)
    held = [
        low <= y <= high
        for y, (low, high) in (
            (known.y[i], interval(float(fitted.predicted[i]), float(scale[i]), again[known.group[i]]))
            for i in range(len(known.y))
        )
    ]
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)


def test_a_wrong_contour_is_listed_and_teaches_nothing() -> None:
    rows = rows_of(20)
    rows[0] |= {"true_ml": 41.0, "dice": 0.1}
    rows[3] |= {"true_ml": 9.9}
    copy = dict(rows[0]) | {"case": "p0: noise", "fault": "noise", "true_ml": 41.0}
    assert [(row["case"], row["organ"]) for row in wrong_truth(rows)] == [("p0", "Parotid_L"), ("p1", "Larynx")]
    known = known_rows([*rows, copy], ORGANS, folds(rows))
    assert len(known.y) == len(rows)  # its copy is left out
    assert [row["case"] for row, weight in zip(known.rows, known.weight, strict=True) if weight == 0] == ["p0", "p1"]
    assert not known.plain[known.doubted].any()


def test_other_members_teach_and_are_not_measured() -> None:
    rows = rows_of(30) + rows_of(300, beside=True, seed=2)
    figures = quality(fit(rows, ORGANS, folds(rows), LIMITS), ORGANS, LIMITS)
    assert (figures["organs"], figures["organs_beside"]) == (60, 600)
    assert figures["correlation"] > 0.9


def test_what_worse_members_err_more_is_not_believed_of_the_bundle() -> None:
    worse = [row | {"dice": max(0.0, float(row["dice"]) - 0.15)} for row in rows_of(300, beside=True, seed=2)]
    rows = rows_of(60) + worse
    gland, _ = calibrations(fit(rows, ORGANS, folds(rows), LIMITS), 2)
    assert BESIDE not in gland.coefficients
    assert predict_dice(gland, {"vvc": 0.05, "pairwise_dice": 0.95})[0] == pytest.approx(0.86, abs=0.04)


def test_disagreement_of_other_members_comes_on_the_scale_of_the_bundles() -> None:
    own = rows_of(100)
    others = [row | {"vvc": 3 * float(row["vvc"]) + 0.2} for row in rows_of(100, beside=True, seed=3)]
    moved = aligned(others, own)
    for organ in ORGANS:
        mine, theirs = ([float(r["vvc"]) for r in rows if r["organ"] == organ] for rows in (own, moved))
        assert np.median(theirs) == pytest.approx(np.median(mine))
    assert [float(r["vvc"]) for r in others] != [float(r["vvc"]) for r in moved]


def test_too_few_cases_are_refused() -> None:
    rows = rows_of(7) + rows_of(50, "noise")
    with pytest.raises(CalibrationError, match="at least 8 validation cases"):
        fit(rows, ORGANS, folds(rows), LIMITS)
