"""Words for left and right in many languages, and how an edited table of them is read."""

import pytest
import yaml

from rtseg_daemon.anatomy.called import SHIPPED, shipped_table, table_from, ways
from rtseg_daemon.anatomy.side_words import side_words_from

LANGUAGES = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["sides"]


def test_at_least_ten_languages_have_words_for_both_sides() -> None:
    assert len(LANGUAGES) >= 10
    assert all(sides["left"] and sides["right"] for sides in LANGUAGES.values())
    assert all(bool(sides.get("letter_left")) == bool(sides.get("letter_right")) for sides in LANGUAGES.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_of_a_language_names_its_side(language: str) -> None:
    table = shipped_table()
    for kind, side in (("left", "_L"), ("letter_left", "_L"), ("right", "_R"), ("letter_right", "_R")):
        for word in LANGUAGES[language].get(kind, []):
            assert table.lookup(f"Parotis {word}") == table.lookup(f"{word.upper()}_Parotis") == f"Parotid{side}", word


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("parotide sx", "Parotid_L"),
        ("parotide dx", "Parotid_R"),
        ("Parótida izq.", "Parotid_L"),
        ("parotida der", "Parotid_R"),
        ("LParotid", "Parotid_L"),
        ("RPAROTID", "Parotid_R"),
        ("parotidr", "Parotid_R"),
        ("leye", "Eye_L"),
        ("REYE", "Eye_R"),
        ("左腮腺", "Parotid_L"),
        ("右侧腮腺", "Parotid_R"),
        ("腮腺（左）", "Parotid_L"),
        ("腮腺右", "Parotid_R"),
        ("右视神经", "OpticNrv_R"),
        ("Parotis höger", "Parotid_R"),
        ("parotis hoeger", "Parotid_R"),
        ("Lens levá", "Lens_L"),
        ("Oeil D", "Eye_R"),
    ],
)
def test_a_side_is_understood_in_the_name_of_an_organ(name: str, meant: str) -> None:
    assert shipped_table().lookup(name) == meant


@pytest.mark.parametrize(
    "name", ["Parotid_D_L", "Parotid sx dx", "左右腮腺", "dparotid", "Cochlear", "lcord", "Lips_L"]
)
def test_a_side_that_is_not_certain_is_not_guessed(name: str) -> None:
    """D may be deep, a letter joined to a name anything, and an organ on the midline has no side."""
    assert shipped_table().lookup(name) is None


def test_side_words_are_edited_like_the_rest() -> None:
    document = {"sided": {"Parotid": ["parotid"]}, "sides": {"Basque": {"left": ["ezker"], "right": ["eskuin"]}}}
    table = table_from(document)
    found = [table.lookup(name) for name in ("Parotid ezker", "parotid_EZKER", "eskuinparotid", "parotid left")]
    assert found == ["Parotid_L", "Parotid_L", "Parotid_R", None]


def test_a_table_without_side_words_takes_the_shipped_ones() -> None:
    assert table_from({"sided": {"Parotid": ["parotid"]}}).lookup("Parotid sx") == "Parotid_L"


@pytest.mark.parametrize(
    ("sides", "fault"),
    [
        ({"Italian": {"left": ["sx"]}}, "sides: Italian: it has words for left and none for right; give both"),
        ({"French": {"left": ["a"], "right": ["b"], "letter_left": ["g"]}}, "letter_left and none for letter_right"),
        ({"X": {"left": ["l"], "right": ["L"]}}, "sides: 'l' stands for left and for right; leave it out of one"),
        ({"X": {"left": "links", "right": ["r"]}}, r"sides: X, left: a list of single words is .* not 'links'"),
        ({"X": {"left": [True], "right": ["r"]}}, r"sides: X, left: a list of single words"),
        ({"X": {"left": ["on the left"], "right": ["r"]}}, r"sides: X, left: a list of single words"),
        ({"X": {"links": ["l"]}}, "sides: X: links is none of left, right, letter_left, letter_right"),
        ({"X": ["l", "r"]}, "sides: X: lists of words for left and right are expected"),
        (["l", "r"], "sides: languages with words for left and right are expected"),
    ],
)
def test_a_wrong_entry_among_the_sides_is_named(sides: object, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        side_words_from(sides, ways)
