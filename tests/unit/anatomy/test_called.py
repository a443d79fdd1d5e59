"""TG-263's own names against the table: a name is itself or unknown, and a part of an organ never the organ."""

import pytest

from rtseg_daemon.anatomy.called import contradiction, shipped_table

MIDLINE = [
    "Arytenoid",
    "Bone_Hyoid",
    "Bone_Mandible",
    "Bone_Occipital",
    "Bone_Sphenoid",
    "Brain",
    "Brainstem",
    "Brainstem_Core",
    "Brainstem_Surf",
    "Carina",
    "CaudaEquina",
    "Cavity_Nasal",
    "Cavity_Oral",
    "Cerebellum",
    "Cerebrum",
    "Cist_Pontine",
    "CribriformPlate",
    "Cricoid",
    "Cricopharyngeus",
    "Esophagus",
    "Esophagus_I",
    "Esophagus_M",
    "Esophagus_NAdj",
    "Esophagus_S",
    "Glnd_Parathyroid",
    "Glnd_Thymus",
    "Glnd_Thyroid",
    "Glottis",
    "GreatVes",
    "Hardpalate",
    "Heart",
    "Hypothalmus",
    "Laryngl_Pharynx",
    "Larynx",
    "Larynx_SG",
    "Lips",
    "Mediastinum",
    "Musc_Constrict",
    "Musc_Constrict_I",
    "Musc_Constrict_M",
    "Musc_Constrict_S",
    "Nasopharynx",
    "Nose",
    "OpticChiasm",
    "Oropharynx",
    "Palate_Soft",
    "Pericardium",
    "Pharynx",
    "Pineal",
    "Pituitary",
    "Pons",
    "Skin",
    "Skull",
    "SpinalCanal",
    "SpinalCord",
    "SpinalCord_Cerv",
    "SpinalCord_Lum",
    "SpinalCord_Sac",
    "SpinalCord_Thor",
    "Spc_Supraclav",
    "Teeth",
    "Tongue",
    "Tongue_All",
    "Tongue_Base",
    "Tongue_Oral",
    "Trachea",
    "Trachea_NAdj",
    "VocalCords",
]
PAIRED = [
    "A_Carotid",
    "Bone_Lacrimal",
    "Bone_Mastoid",
    "Bone_Temporal",
    "BrachialPlex",
    "Bronchus",
    "CN_VIII",
    "Cochlea",
    "Cornea",
    "Ear_External",
    "Ear_Internal",
    "Ear_Middle",
    "Eye",
    "Glnd_Lacrimal",
    "Glnd_Subling",
    "Glnd_Submand",
    "Hemisphere",
    "Hippocampus",
    "Humerus",
    "Joint_TM",
    "Lens",
    "Lobe_Frontal",
    "Lobe_Occipital",
    "Lobe_Parietal",
    "Lobe_Temporal",
    "Lung",
    "Musc_Masseter",
    "Musc_Temporal",
    "OpticNrv",
    "OpticTract",
    "Parotid",
    "Retina",
    "Tongue_Base",
    "VocalCord",
]
BOTH = [
    "BrachialPlexs",
    "Cochleas",
    "Ear_Internals",
    "Eyes",
    "Glnd_Lacrimals",
    "Glnd_Sublings",
    "Glnd_Submands",
    "Lenses",
    "Lobe_Temporals",
    "Lungs",
    "OpticNrvs",
    "Parotids",
    "Retinas",
]
PARTS_AND_MARGINS = [
    "Brain-CTV",
    "Brain-GTV",
    "Brain-PTV",
    "Brain_PRV",
    "Brainstem_PRV03",
    "Eye_A_L",
    "Eye_AL",
    "Eye_PL",
    "Lung_LLL",
    "Lung_LUL",
    "Lung_RLL",
    "Lung_RML",
    "Lung_RUL",
    "Lung_L-GTV",
    "Lungs-CTV",
    "Larynx_GSL",
    "Larynx_PRV",
    "OpticNrv_PRV03_L",
    "Parotid_D_L",
    "Parotid_S_R",
    "Parotid_DL",
    "Parotid_L_Sub",
    "SpinalCord_PRV05",
    "Heart+A_Pulm",
    "Cavity_Oral-PTV",
    "Esophagus_PRV",
    "Glnd_Thyroid_PRV",
    "Musc_Constrict-PTV",
]
NAMES = [*MIDLINE, *(f"{name}_{side}" for name in PAIRED for side in "LR"), *PAIRED, *BOTH, *PARTS_AND_MARGINS]


@pytest.mark.parametrize("name", NAMES)
def test_a_tg263_name_is_itself_or_unknown(name: str) -> None:
    assert shipped_table().lookup(name) in (None, name)


@pytest.mark.parametrize("name", [*BOTH, *PARTS_AND_MARGINS])
def test_both_sides_in_one_and_parts_are_unknown(name: str) -> None:
    assert shipped_table().lookup(name) is None


@pytest.mark.parametrize("name", [n for n in MIDLINE if n in set(shipped_table().single.values())])
def test_every_name_that_the_table_gives_is_found_by_itself(name: str) -> None:
    assert shipped_table().lookup(name) == name


def test_the_table_gives_no_name_that_tg263_lacks() -> None:
    table = shipped_table()
    assert set(table.single.values()) <= set(MIDLINE)
    assert set(table.sided.values()) <= set(PAIRED)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Supraglottic larynx", "Larynx_SG"),
        ("LARYNX-SG", "Larynx_SG"),
        ("Cervical Esophagus", "Esophagus_S"),
        ("PCM sup", "Musc_Constrict_S"),
        ("Spinalkanal", "SpinalCanal"),
        ("脊髓", "SpinalCord"),
        ("脑干", "Brainstem"),
        ("下颌骨", "Bone_Mandible"),
        ("食管", "Esophagus"),
        ("Speiseröhre", "Esophagus"),
        ("Unterkieferdrüse re.", "Glnd_Submand_R"),
        ("Médula espinal", "SpinalCord"),
        ("Midollo spinale", "SpinalCord"),
    ],
)
def test_organs_and_their_parts_in_other_words(name: str, meant: str) -> None:
    assert shipped_table().lookup(name) == meant


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("Parotid", "Parotid_L or Parotid_R: it does not tell the side"),
        ("Parotids L+R", "Parotid_L and Parotid_R in one"),
        ("Parottid_L", "Parotid_L"),
        ("Rückenmarks", "SpinalCord"),
        ("Brain stemm", "Brainstem"),
        ("Esophagus_L", "Esophagus, which has no side"),
        ("左腮线", ""),
        ("zzRing 5mm", ""),
        ("PTV_7000", ""),
        ("", ""),
    ],
)
def test_an_unmapped_name_comes_with_a_suggestion(name: str, suggested: str) -> None:
    table = shipped_table()
    assert table.lookup(name) is None
    assert table.suggest(name) == suggested


def test_a_part_is_no_name_for_the_organ_at_a_destination() -> None:
    assert contradiction("Larynx", "Larynx_SG") == "'Larynx_SG' names another organ (Larynx_SG) than Larynx"
    assert contradiction("Larynx", "Kehlkopf") == ""
    assert "names the right side" in contradiction("Parotid_L", "parotide dx")
