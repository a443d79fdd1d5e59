"""The cached case and its manifest, and folders of NIfTI images that do not fit together."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case, body_alone, make_case, save_case
from rtseg_training.sets.import_folders import find_cases, import_case
from rtseg_training.sets.joined import load_cases
from rtseg_training.sets.manifest import write_manifest
from rtseg_training.sets.names import load_names

from rtseg_daemon.anatomy.image import to_image
from rtseg_daemon.anatomy.volume import Array, Volume
from tests.unit.training.conftest import no_room

Phantom = tuple[Volume, dict[str, Array]]


def write_folder(folder: Path, volume: Volume, masks: dict[str, Array]) -> Path:
    (folder / "segmentations").mkdir(parents=True)
    sitk.WriteImage(to_image(volume), str(folder / "ct.nii.gz"))
    for name, mask in masks.items():
        path = folder / "segmentations" / f"{name}.nii.gz"
        sitk.WriteImage(to_image(volume.with_array(mask.astype(np.uint8))), str(path))
    return folder


def test_a_case_keeps_the_ct_as_it_was_received(phantom: Phantom, case: Case) -> None:
    volume, masks = phantom
    assert case.ct.shape == volume.shape
    assert (case.ct.spacing_mm, case.ct.origin_mm) == (volume.spacing_mm, volume.origin_mm)
    assert np.array_equal(case.ct.array, np.rint(volume.array))
    for name, mask in masks.items():
        assert np.array_equal(case.mask(name), mask)


def test_values_beyond_what_a_ct_should_hold_are_kept_as_the_daemon_sees_them(phantom: Phantom) -> None:
    volume, _ = phantom
    hu = volume.array.astype(np.float32)
    hu[0, 0, :4] = (-3024.0, 20000.0, 1.4, 90000.0)
    assert make_case("x", volume.with_array(hu), {}).ct.array[0, 0, :4].tolist() == [-3024, 20000, 1, 32767]


def test_a_template_is_made_of_bodies_without_their_couch(phantom: Phantom, case: Case) -> None:
    alone = body_alone(case)
    assert np.prod(alone.ct.shape) < 0.8 * np.prod(case.ct.shape)
    for name, mask in phantom[1].items():
        assert int(alone.mask(name).sum()) == int(mask.sum())
    assert int(alone.ct.array[:, -1].max()) == -1000
    assert int(case.ct.array[:, alone.ct.shape[1] :].max()) > -1000


def test_a_case_comes_back_from_disk_as_it_was(case: Case, tmp_path: Path) -> None:
    write_manifest(tmp_path, [save_case(case, tmp_path)], "x", [])
    (back,) = load_cases(tmp_path)
    assert np.array_equal(back.ct.array, case.ct.array)
    assert np.array_equal(back.bits, case.bits)
    assert back.ct.spacing_mm == case.ct.spacing_mm
    assert (back.structures, back.status) == (case.structures, case.status)


def test_an_altered_case_is_refused_by_name(case: Case, tmp_path: Path) -> None:
    write_manifest(tmp_path, [save_case(case, tmp_path)], "x", [])
    path = tmp_path / "phantom1.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CaseError, match=r"case phantom1: .* altered"):
        load_cases(tmp_path)


def test_a_folder_without_a_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="rtseg-train import"):
        load_cases(tmp_path)


def test_overlapping_structures_keep_all_their_voxels(phantom: Phantom) -> None:
    volume, masks = phantom
    target = masks["Brainstem"] | masks["SpinalCord"]
    case = make_case("x", volume, {"Brainstem": masks["Brainstem"], "PTV": target, "None": target & ~target})
    assert int((case.mask("PTV") & case.mask("Brainstem")).sum()) == int(masks["Brainstem"].sum())
    assert case.status == {"Brainstem": "drawn", "PTV": "drawn", "None": "empty"}


def test_forty_organs_fit_a_case_and_come_back_from_disk(phantom: Phantom, tmp_path: Path) -> None:
    volume, masks = phantom
    many = {f"Organ_{k}": masks["Brainstem" if k % 2 else "SpinalCord"] for k in range(40)}
    write_manifest(tmp_path, [save_case(make_case("x", volume, many), tmp_path)], "x", [])
    (back,) = load_cases(tmp_path)
    for k in (0, 31, 32, 39):
        assert int(back.mask(f"Organ_{k}").sum()) == int(many[f"Organ_{k}"].sum())
    with pytest.raises(CaseError, match="case x: 65 structures, at most 64 fit; give --names a table of fewer organs"):
        make_case("x", volume, {f"Organ_{k}": masks["Brainstem"] for k in range(65)})


def test_a_structure_nobody_drew_is_not_annotated(case: Case) -> None:
    with pytest.raises(CaseError, match="case phantom1: Lens_L is not annotated"):
        case.mask("Lens_L")


def test_an_empty_ct_is_refused() -> None:
    air = Volume(np.full((8, 8, 8), -1000, np.int16), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    with pytest.raises(CaseError, match="case x: no body found"):
        make_case("x", air, {})


def test_nifti_folders_are_imported_in_patient_axes(phantom: Phantom, tmp_path: Path) -> None:
    """Stored with x and y reversed (RAS), the case is the same."""
    volume, masks = phantom
    folder = write_folder(tmp_path / "a", volume, {"Parotid_L": masks["Parotid_L"]})
    for path in folder.rglob("*.nii.gz"):
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), "RAS"), str(path))
    assert find_cases(tmp_path) == [folder]
    case = import_case(folder, load_names())
    direct = make_case("a", volume, {"Parotid_L": masks["Parotid_L"]})
    assert np.array_equal(case.mask("Parotid_L"), direct.mask("Parotid_L"))
    assert case.ct.origin_mm == pytest.approx(direct.ct.origin_mm, abs=1e-3)


def test_a_mask_on_another_grid_is_refused_with_its_file(phantom: Phantom, tmp_path: Path) -> None:
    volume, masks = phantom
    folder = write_folder(tmp_path / "a", volume, {"Parotid_L": masks["Parotid_L"]})
    path = folder / "segmentations" / "Parotid_L.nii.gz"
    image = sitk.ReadImage(str(path))
    image.SetOrigin([5.0, 0.0, 0.0])
    sitk.WriteImage(image, str(path))
    with pytest.raises(CaseError, match=r"case a: .*Parotid_L\.nii\.gz lies on another grid"):
        import_case(folder, load_names())


def test_a_file_that_is_no_image_is_named(phantom: Phantom, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", phantom[0], {})
    (folder / "ct.nii.gz").write_bytes(b"no image")
    with pytest.raises(CaseError, match=r"case a: .*ct\.nii\.gz cannot be read"):
        import_case(folder, load_names())


def test_a_label_map_is_left_out_and_a_hidden_file_passed_over(phantom: Phantom, tmp_path: Path) -> None:
    volume, masks = phantom
    both = masks["Brainstem"].astype(np.uint8) + 2 * masks["Bone_Mandible"]
    folder = write_folder(tmp_path / "a", volume, {"Brainstem": masks["Brainstem"], "Larynx": both})
    (folder / "segmentations" / "._Brainstem.nii.gz").write_bytes(b"\0\5\x16\7")
    said: list[str] = []
    case = import_case(folder, load_names(), said.append)
    assert case.structures == ("Brainstem",)
    assert said == [
        "1 hidden files among the masks were passed over",
        "Larynx.nii.gz left out: it is a map of 2 labels; write one mask per structure",
    ]


def test_a_mask_beside_the_patient_is_not_annotated_and_said(phantom: Phantom) -> None:
    volume, masks = phantom
    beside = np.zeros(volume.shape, bool)
    beside[:, :3, :3] = True
    partly = masks["Brainstem"].copy()
    partly[:, 0, 0] = True
    said: list[str] = []
    case = make_case("x", volume, {"Larynx": beside, "Brainstem": partly}, say=said.append)
    assert (case.structures, case.status) == (("Brainstem",), {"Brainstem": "drawn"})
    assert np.array_equal(case.mask("Brainstem").sum(), masks["Brainstem"].sum())
    assert [line.split(":")[0] for line in said] == ["Larynx is not annotated", "Brainstem"]


def test_names_of_folders_are_mapped_and_a_hundred_unknown_ones_left_out(phantom: Phantom, tmp_path: Path) -> None:
    volume, masks = phantom
    many = {f"vertebra_{k}": masks["Brainstem"] for k in range(40)}
    known = {"parotid_gland_left": masks["Parotid_L"], "spinal_cord": masks["SpinalCord"]}
    few = write_folder(tmp_path / "a", volume, known | {"PTV70": masks["Brainstem"]})
    assert set(import_case(few, load_names()).structures) == {"Parotid_L", "SpinalCord", "PTV70"}
    said: list[str] = []
    case = import_case(write_folder(tmp_path / "b", volume, known | many), load_names(), said.append)
    assert set(case.structures) == {"Parotid_L", "SpinalCord"}
    assert said == ["40 masks left out whose names the table of names does not know"]


def test_an_oblique_image_is_refused_with_its_file(phantom: Phantom, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", phantom[0], {})
    path = folder / "ct.nii.gz"
    image = sitk.ReadImage(str(path))
    c, s = np.cos(0.02), np.sin(0.02)
    image.SetDirection([c, -s, 0, s, c, 0, 0, 0, 1])
    sitk.WriteImage(image, str(path))
    with pytest.raises(CaseError, match=r"case a: .*ct\.nii\.gz is oblique"):
        import_case(folder, load_names())


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"format": 1')
    with pytest.raises(CaseError, match=r"manifest\.json is damaged"):
        load_cases(tmp_path)


def test_a_full_disk_names_the_case(case: Case, tmp_path: Path) -> None:
    with no_room(1000), pytest.raises(CaseError, match=r"case phantom1: .*phantom1\.npz cannot be written"):
        save_case(case, tmp_path)
    assert list(tmp_path.iterdir()) == []
