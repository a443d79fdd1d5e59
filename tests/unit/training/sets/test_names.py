"""Departments' names for organs, and the table that maps them."""

from pathlib import Path

import pytest
from rtseg_training.errors import CaseError
from rtseg_training.sets.names import load_names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Parotid_L", "Parotid_L"),
        ("PAROTID_R", "Parotid_R"),
        ("Parotis li.", "Parotid_L"),
        ("ParotidLt", "Parotid_L"),
        ("Left Parotid Gland", "Parotid_L"),
        ("Spinal-Cord", "SpinalCord"),
        ("SPINAL_CORD", "SpinalCord"),
        ("BrainStem", "Brainstem"),
        ("Mandible", "Bone_Mandible"),
        ("Oesophagus", "Esophagus"),
        ("OPTICNERVE_L", "OpticNrv_L"),
        ("Glnd_Submand_R", "Glnd_Submand_R"),
        ("Lung-Right", "Lung_R"),
        ("Rückenmark", "SpinalCord"),
        ("Ru\u0308ckenmark", "SpinalCord"),
        ("Ruckenmark", "SpinalCord"),
        ("RUECKENMARK", "SpinalCord"),
        ("Mundhöhle", "Cavity_Oral"),
        ("MUNDHÖHLE", "Cavity_Oral"),
        ("Ösophagus", "Esophagus"),
        ("œsophage", "Esophagus"),
        ("Œsophagus", "Esophagus"),
        ("Tränendrüse re", "Glnd_Lacrimal_R"),
        ("Tranendruse_li", "Glnd_Lacrimal_L"),
        ("Schilddrüse", "Glnd_Thyroid"),
        ("Œil G", "Eye_L"),
    ],
)
def test_known_names(name: str, meant: str) -> None:
    assert load_names().lookup(name) == meant


@pytest.mark.parametrize(
    "name", ["PAROTID", "PAROTID_CB", "Parotid L+R", "Cord_PRV_5", "PTV_7000", "", "-", "Lt", "喉頭", "Larynx_L"]
)
def test_what_is_not_certain_is_not_mapped(name: str) -> None:
    assert load_names().lookup(name) is None


def test_an_edited_table_replaces_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "names.yaml"
    path.write_text("single: {Brainstem: [Pons und so]}\nsided: {}\n")
    table = load_names(path)
    assert table.lookup("brainstem") == table.lookup("pons_UND so") == "Brainstem"
    assert table.lookup("Mandible") is None


def table(folder: Path, text: str) -> Path:
    path = folder / "names.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_names_in_other_scripts_are_told_apart(tmp_path: Path) -> None:
    names = "single: {Larynx: [喉頭], Esophagus: [食道, пищевод]}\nsided: {Parotid: [耳下腺]}\n"
    known = load_names(table(tmp_path, names))
    found = [known.lookup(name) for name in ("喉頭", "食道", "ПИЩЕВОД", "耳下腺_L", "脊髄", "喉", "が")]
    assert found == ["Larynx", "Esophagus", "Esophagus", "Parotid_L", None, None, None]


def test_a_mark_that_makes_another_letter_stays(tmp_path: Path) -> None:
    known = load_names(table(tmp_path, "single: {Larynx: [か], Esophagus: [が]}\n"))
    assert (known.lookup("か"), known.lookup("が")) == ("Larynx", "Esophagus")


def test_a_synonym_in_umlauts_stands_for_its_other_spellings(tmp_path: Path) -> None:
    known = load_names(table(tmp_path, "single: {Lips: [Lippenröte]}\n"))
    assert {known.lookup(name) for name in ("lippenroete", "Lippenrote", "LIPPENRÖTE")} == {"Lips"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("single: {Larynx: ['- L']}", r"names\.yaml: Larynx: '- L' has no letters of its own"),
        ("sided: {Rt: [eye]}", r"names\.yaml: Rt: 'Rt' has no letters of its own"),
        ("single: {Larynx: }", r"names\.yaml: Larynx: a list of names is expected, .* None"),
        ("single: {Larynx: Kehlkopf}", r"names\.yaml: Larynx: a list of names is expected, .* 'Kehlkopf'"),
        ("single: {Larynx: [no]}", r"names\.yaml: Larynx: False is no text; put it in quotes"),
        ("single: [Larynx]", r"names\.yaml: single: organs with lists of names are expected"),
    ],
)
def test_a_wrong_entry_is_named(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=fault):
        load_names(table(tmp_path, text + "\n"))


def test_a_table_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "names.yaml"
    path.write_bytes("single: {SpinalCord: [Rückenmark]}\n".encode("latin-1"))
    with pytest.raises(CaseError, match=r"names\.yaml .*UTF-8"):
        load_names(path)


def test_one_synonym_for_two_organs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.yaml"
    path.write_text("single: {Brainstem: [stem], SpinalCord: [stem]}\n")
    with pytest.raises(CaseError, match="'stem' stands for"):
        load_names(path)


def test_a_table_that_is_no_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "names.yaml"
    path.write_text("- a\n- b\n")
    with pytest.raises(CaseError, match=r"names\.yaml"):
        load_names(path)
