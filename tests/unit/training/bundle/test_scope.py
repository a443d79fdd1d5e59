"""A bundle's limits and card tell of its own training cases, not of another set's."""

from typing import Any

import pytest
from rtseg_training.bundle.card import model_card
from rtseg_training.bundle.export import keeps_largest
from rtseg_training.bundle.scope import facts_of, limits_of
from rtseg_training.errors import RecipeError
from rtseg_training.learn.account import plan_of
from rtseg_training.learn.recipe import Bounds, load_recipe
from rtseg_training.sets.manifest import Entry

from rtseg_daemon.bundles import Limits, OrganClass
from tests.structure_sets import tiny_bundle
from tests.unit.training.conftest import tiny_recipe, write_recipe


def ct(slices: int, distance: float, pixel: float, **facts: Any) -> Entry:
    return {"shape": [slices, 512, 512], "spacing_mm": [distance, pixel, pixel], **facts}


ENTRIES = [
    ct(150, 3.0, 0.98, position="HFS", manufacturer="SIEMENS"),
    ct(120, 2.0, 1.17, position="HFS", manufacturer="SIEMENS"),
    ct(90, 3.0, 1.0, position="HFP", manufacturer="GE MEDICAL SYSTEMS"),
    ct(200, 2.5, 1.0),
]


def test_limits_come_from_the_manifest() -> None:
    found = limits_of(ENTRIES, Bounds())
    assert found.slice_spacing_mm == (1.8, 3.3)
    assert found.pixel_spacing_mm == (0.882, 1.287)
    assert (found.positions, found.minimum_slices) == (["HFP", "HFS"], 45)


def test_where_no_image_told_its_position_it_is_the_usual_one() -> None:
    assert limits_of([ct(100, 3.0, 1.0)], Bounds()).positions == Limits().positions


def test_the_recipe_says_what_it_wants_otherwise() -> None:
    asked = Bounds(positions=["HFS"], minimum_slices=40, slice_distance_tolerance=0.05, minimum_organs=0)
    found = limits_of(ENTRIES, asked)
    assert (found.positions, found.minimum_slices, found.minimum_organs) == (["HFS"], 40, 0)
    assert (found.slice_distance_tolerance, found.slice_spacing_mm) == (0.05, (1.8, 3.3))


def test_the_card_tells_of_these_cases_and_of_no_others() -> None:
    limits = limits_of(ENTRIES, Bounds())
    card = model_card(tiny_bundle("Eye_L", limits=limits, provenance=facts_of(ENTRIES), known_limits=["Eyes alone."]))
    assert "Made for HFP, HFS, slices 1.8 to 3.3 mm apart, pixels of 0.882 to 1.287 mm and at least 45 slices." in card
    assert "Slice distances 2 to 3 mm, median 3. Pixels 0.98 to 1.17 mm, median 1. Slices 90 to 200 a CT." in card
    assert "Positions HFS 2, HFP 1, not known 1. Manufacturers SIEMENS 2, GE MEDICAL SYSTEMS 1, not known 1." in card
    assert "- Eyes alone." in card
    assert "head-and-neck" not in card.lower()
    assert "not recorded in this bundle" not in card


def test_a_card_without_a_record_says_so() -> None:
    card = model_card(tiny_bundle("Eye_L"))
    assert "Spacings, positions and scanners of the training CTs are not recorded in this bundle." in card
    assert "- No calibration, and REVIEW at best: Eye_L." in card


def test_a_target_in_several_parts_keeps_them_unless_the_recipe_says_otherwise() -> None:
    recipe = tiny_recipe()
    assert keeps_largest(recipe, "Parotid_L", "ORGAN")
    assert not keeps_largest(recipe, "GTVn", "GTV")
    named = tiny_recipe(largest_component={"Parotid_L": False, "GTVn": True})
    assert not keeps_largest(named, "Parotid_L", "ORGAN")
    assert keeps_largest(named, "GTVn", "GTV")
    assert not keeps_largest(tiny_recipe(largest_component=False), "Parotid_L", "ORGAN")
    parts = tiny_bundle(classes=[OrganClass(name="GTVn", interpreted_type="GTV", largest_component=False)])
    assert "- All parts are kept, also stray ones: GTVn." in model_card(parts)


def test_limits_and_parts_change_no_weight_and_are_checked_by_name(tmp_path: Any) -> None:
    changed = tiny_recipe(limits=Bounds(minimum_slices=40), largest_component=False)
    assert plan_of(changed) == plan_of(tiny_recipe())
    path = write_recipe(tiny_recipe(largest_component={"Eye_L": False}), tmp_path / "r.yaml")
    with pytest.raises(RecipeError, match="largest_component names Eye_L, which is not among the classes"):
        load_recipe(path)
