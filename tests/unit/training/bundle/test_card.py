"""The card says what the bundle is for, and is whole Markdown whatever the bundle holds."""

import pytest
from rtseg_training.bundle.card import model_card

from rtseg_daemon.bundles import Bundle, Golden, MemberFile, installed_models, load_bundle
from tests.structure_sets import tiny_bundle


def bundle_for(use: str, members: int = 2) -> Bundle:
    files = [MemberFile(name=f"m{k}", file=f"m{k}", sha256="0", intensity="SLF1") for k in range(members)]
    return tiny_bundle("Brainstem", intended_use=use, members=files)


@pytest.mark.parametrize(
    ("use", "said", "not_said"),
    [
        ("evaluation", "For evaluation and local commissioning, not for treatment as it comes", "research"),
        ("research", "For research and comparison of methods, not for evaluation at a clinic", "commissioning"),
        ("clinical", "in a department that has commissioned it on its own cases", "not for treatment"),
    ],
)
def test_the_card_follows_the_intended_use(use: str, said: str, not_said: str) -> None:
    card = model_card(bundle_for(use))
    line = next(line for line in card.splitlines() if line.startswith("Intended use"))
    assert line.startswith(f"Intended use: {use}. Not a medical device. ")
    assert said in line
    assert not_said not in line
    assert line.endswith("a person reviews every contour.")


def test_phantoms_without_an_organ_of_the_bundle_are_no_empty_table() -> None:
    bundle = tiny_bundle("PTV_7000", golden=[Golden(seed=s, matrix=64, dice={}) for s in (101, 102)])
    golden = model_card(bundle).split("## Golden cases\n\n")[1].split("\n\n## ")[0]
    assert golden == "None: no phantom holds an organ of this bundle."


def test_golden_figures_are_a_table() -> None:
    bundle = tiny_bundle("Brainstem", golden=[Golden(seed=101, matrix=64, dice={"Brainstem": 0.8})])
    assert "| case | Brainstem |\n|---|---|\n| phantom 101, 64 | 0.800 |" in model_card(bundle)


@pytest.mark.parametrize(("count", "said"), [(1, "\n1 member of"), (2, "\n2 members of")])
def test_one_member_is_one_member(count: int, said: str) -> None:
    assert said in model_card(bundle_for("research", count))


def test_the_card_says_that_the_cord_is_not_the_canal_where_there_is_a_cord() -> None:
    assert "SpinalCord is the cord, not the spinal canal" in model_card(tiny_bundle("Brainstem", "SpinalCord"))
    assert "spinal canal" not in model_card(tiny_bundle("Brainstem"))


def test_the_card_of_a_calibrated_bundle_says_that_validation_chose_and_what_dice_presumes() -> None:
    folder = installed_models()
    card = model_card(load_bundle(folder, "han-oar"))
    for said in ("validation cases also chose", "Predicted Dice presumes that the organ exists", "Never measured here"):
        assert said in card
    assert "also chose" not in model_card(tiny_bundle("Brainstem"))


@pytest.mark.parametrize("name", ["han-anatomynet", "han-focusnet", "han-gtv", "han-oar"])
def test_the_card_beside_a_bundle_is_the_one_that_is_made_of_it(name: str) -> None:
    folder = installed_models()
    assert (folder / name / "MODEL_CARD.md").read_text() == model_card(load_bundle(folder, name))
