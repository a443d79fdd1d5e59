"""Departments' names for organs, and the table that maps them."""

from pathlib import Path

import pytest
from rtseg_training.errors import CaseError
from rtseg_training.names import load_names


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
    ],
)
def test_known_names(name: str, meant: str) -> None:
    assert load_names().lookup(name) == meant


@pytest.mark.parametrize("name", ["PAROTID", "PAROTID_CB", "Parotid L+R", "Cord_PRV_5", "PTV_7000", "", "Larynx_L"])
def test_what_is_not_certain_is_not_mapped(name: str) -> None:
    assert load_names().lookup(name) is None


def test_an_edited_table_replaces_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "names.yaml"
    path.write_text("single: {Brainstem: [Pons und so]}\nsided: {}\n")
    table = load_names(path)
    assert table.lookup("brainstem") == table.lookup("pons_UND so") == "Brainstem"
    assert table.lookup("Mandible") is None


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
