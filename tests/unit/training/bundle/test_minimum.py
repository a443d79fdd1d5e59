"""A bundle that may serve must reach what a person asked for: no figure is taken for granted."""

import math

import pytest
from rtseg_training.bundle.card import model_card
from rtseg_training.bundle.minimum import demanded, read_minimum, require
from rtseg_training.errors import ExportError

from rtseg_daemon.bundles import Bundle, Minimum
from tests.structure_sets import tiny_bundle

ORGANS = ["Brainstem", "Larynx"]
ALL = ["dice=0.6", "dice:Larynx=0.5", "auroc=0.55", "caught=0.3"]


def measured(**changes: float) -> Bundle:
    found = {"brainstem": 0.8, "larynx": 0.55, "auroc": 0.6, "caught": 0.4} | changes
    calibration = {key: found[key] for key in ("auroc", "caught")}
    figures = {"Brainstem": {"dice": found["brainstem"]}, "Larynx": {"dice": found["larynx"]}}
    return tiny_bundle(*ORGANS, figures=figures | {"calibration": calibration})


def test_what_is_asked_is_read_organ_by_organ() -> None:
    assert read_minimum(ALL, ORGANS) == Minimum(dice={"Brainstem": 0.6, "Larynx": 0.5}, auroc=0.55, caught=0.3)


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], r"says nothing of auroc, caught, dice:Brainstem, dice:Larynx; say what it must reach"),
        (["dice:Larynx=0.5", "auroc=0.6", "caught=0"], r"says nothing of dice:Brainstem"),
        ([*ALL, "dice:Eye_L=0.5"], r"dice:Eye_L is no figure of this bundle \(Brainstem, Larynx\)"),
        ([*ALL, "auroc=good"], r"'good' is no number"),
        ([*ALL, "caught=30"], r"figures lie between 0 and 1"),
        ([*ALL, "auroc=nan"], r"figures lie between 0 and 1"),
    ],
)
def test_what_is_missing_or_no_figure_is_named(items: list[str], said: str) -> None:
    with pytest.raises(ExportError, match=said):
        read_minimum(items, ORGANS)


def test_a_bundle_that_may_serve_is_not_promoted_before_somebody_says_how_good_it_must_be() -> None:
    with pytest.raises(ExportError, match=r"may serve patients: say what it must reach .* --minimum dice=0\.6"):
        demanded([], measured(), measured=True)
    with pytest.raises(ExportError, match="needs validation cases to be measured on: add --validation"):
        demanded(ALL, measured(), measured=False)
    assert demanded([], tiny_bundle(*ORGANS, intended_use="research"), measured=True) is None
    assert demanded([], measured(), measured=False) is None


def test_what_was_asked_once_is_asked_of_the_next_version_too() -> None:
    least = read_minimum(ALL, ORGANS)
    carried = require(measured(), least)
    assert carried.minimum == least
    assert demanded([], carried, measured=True) == least


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"larynx": 0.49}, r"Dice of Larynx is 0\.490, at least 0\.5 is asked\. Train it further"),
        (
            {"auroc": 0.5, "caught": 0.1},
            r"AUROC is 0\.500, .*; share of bad organs that are caught is 0\.100",
        ),
        ({"auroc": math.nan}, r"AUROC could not be measured, at least 0\.55 is asked"),
    ],
)
def test_a_figure_that_falls_short_stops_the_bundle(changes: dict[str, float], said: str) -> None:
    with pytest.raises(ExportError, match=said):
        require(measured(**changes), read_minimum(ALL, ORGANS))


def test_nothing_asked_is_nothing_refused_and_the_card_tells_either() -> None:
    free = read_minimum(["dice=0", "auroc=0", "caught=0"], ORGANS)
    assert require(tiny_bundle(*ORGANS), free).minimum == free
    assert "Nobody set a minimum." in model_card(tiny_bundle(*ORGANS))
    card = model_card(tiny_bundle(*ORGANS, minimum=read_minimum(ALL, ORGANS)))
    assert "Demanded, and not measured yet: DSC Brainstem 0.6, Larynx 0.5. AUROC 0.55, 0.3 of the bad organs" in card
