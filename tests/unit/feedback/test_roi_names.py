"""Which organ an ROI is: a person's word, the destination's names backwards, TG-263, synonyms, and when to ask."""

import pytest

from rtseg_daemon.feedback.names import Named, Roi, key_of, named
from tests.structure_sets import destination

OURS = ("Brainstem", "SpinalCord", "Parotid_L", "Parotid_R", "Glnd_Submand_L")
TPS = destination(roi_names={"Brainstem": "STEM 1", "Parotid_L": "PAR_LI"})


def meant(*names: str, people: dict[str, str | None] | None = None, drawn: int = 3) -> list[Named]:
    rois = [Roi(number, name, drawn) for number, name in enumerate(names, 1)]
    said = {key_of(name): organ for name, organ in (people or {}).items()}
    return named(rois, OURS, [TPS], said)


@pytest.mark.parametrize(
    ("name", "organ", "by"),
    [
        ("STEM 1", "Brainstem", "destination"),
        ("stem_1", "Brainstem", "destination"),
        ("PAR_LI", "Parotid_L", "destination"),
        ("PAR_LI_RVW", "Parotid_L", "destination"),
        ("PAR_LI_RJT", "Parotid_L", "destination"),
        ("Glnd_Subma_L_RVW", "Glnd_Submand_L", "destination"),
        ("Parotid_L", "Parotid_L", "exact"),
        ("SpinalCord", "SpinalCord", "exact"),
        ("Rückenmark", "SpinalCord", "synonym"),
        ("Ohrspeicheldrüse rechts", "Parotid_R", "synonym"),
        ("右腮腺", "Parotid_R", "synonym"),
        ("Heart", "Heart", "exact"),
        ("Lunge li", "Lung_L", "synonym"),
    ],
)
def test_a_name_is_understood(name: str, organ: str, by: str) -> None:
    [one] = meant(name)
    assert (one.organ, one.named_by) == (organ, by)


@pytest.mark.parametrize(
    "name", ["SpinalCord_PRV05", "cord+5mm", "Parotid", "Parotid_CB", "PTV_Parotid_L", "x", "🙂", ""]
)
def test_a_name_that_only_holds_an_organs_is_not_that_organ(name: str) -> None:
    assert [one.organ for one in meant(name)] == [None]


def test_a_ring_that_we_sent_is_none_of_ours_and_nobody_is_asked() -> None:
    [one] = meant("zParotid_R")
    assert (one.organ, one.named_by, one.unknown) == (None, "destination", False)


def test_a_person_is_believed_before_everything_else() -> None:
    [one] = meant("Parotid_L", people={"parotid l": "Parotid_R"})
    assert (one.organ, one.named_by) == ("Parotid_R", "person")
    [one] = meant("my cord", people={"MY_CORD": "SpinalCord"})
    assert one.organ == "SpinalCord"
    [one] = meant("Bolus 1", people={"bolus1": None})
    assert (one.organ, one.named_by, one.unknown) == (None, "person", False)


def test_of_two_that_claim_one_organ_the_surer_or_the_drawn_one_is_taken() -> None:
    assert [one.organ for one in meant("Parotis links", "PAR_LI")] == [None, "Parotid_L"]
    empty, drawn = Roi(1, "Parotid_L", 0), Roi(2, "Parotis links", 4)
    assert [one.organ for one in named([empty, drawn], OURS, [TPS], {})] == [None, "Parotid_L"]


def test_where_two_are_as_sure_neither_is_and_a_person_is_asked() -> None:
    both = meant("Parotis links", "linke Parotis")
    assert [one.organ for one in both] == [None, None]
    assert [one.rival for one in both] == [True, True]


def test_nobody_is_asked_while_every_organ_of_ours_is_found() -> None:
    everything = meant("STEM 1", "SpinalCord", "PAR_LI", "Parotid_R", "Glnd_Submand_L", "mystery")
    assert not any(one.unknown for one in everything)
    some = meant("STEM 1", "SpinalCord", "PAR_LI", "Parotid_R", "mystery", "PTV 70", "zGTV")
    assert [one.roi.name for one in some if one.unknown] == ["mystery"]


def test_an_empty_roi_of_an_unknown_name_is_not_asked_about() -> None:
    assert not any(one.unknown for one in meant("mystery", drawn=0))
