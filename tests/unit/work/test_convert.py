"""`rtseg-daemon convert`: masks on any grid to a structure set, and back, with names nobody can abuse."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import typer
from typer.testing import CliRunner

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.cli.convert import convert
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.rtstruct.reading import read_structures
from rtseg_daemon.segment.resample import to_image
from rtseg_daemon.work.convert import masks_to_rtstruct, roi_name, rtstruct_to_masks
from tests.structure_sets import Case, ball, dciodvfy_errors
from tests.synthetic import sample_volume, write_series

app = typer.Typer()
app.command()(convert)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output


def mask_of(path: Path) -> np.ndarray:
    return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


@pytest.fixture
def volume() -> Volume:
    return sample_volume()


@pytest.mark.peers
@pytest.mark.parametrize("position", ["HFS", "HFP", "FFDL"])
def test_masks_go_to_a_structure_set_and_come_back(tmp_path: Path, volume: Volume, position: str) -> None:
    write_series(tmp_path / "ct", volume, position, shuffle=True)
    (tmp_path / "masks").mkdir()
    mask = (ball(volume, (3, 9, 22), 6) > 0).astype(np.uint8)
    sitk.WriteImage(to_image(volume.with_array(mask)), str(tmp_path / "masks" / "Parotid_L.nii.gz"))
    sitk.WriteImage(to_image(volume.with_array(mask * 255)), str(tmp_path / "masks" / "GTVp.nrrd"))
    assert run(tmp_path / "ct", "--masks", tmp_path / "masks", "--out", tmp_path / "rs.dcm")[0] == 0
    assert dciodvfy_errors(tmp_path / "rs.dcm") == []
    assert {s.name: s.interpreted_type for s in read_structures(tmp_path / "rs.dcm")} == {
        "GTVp": "GTV",
        "Parotid_L": "ORGAN",
    }
    assert run(tmp_path / "ct", "--rtstruct", tmp_path / "rs.dcm", "--out", tmp_path / "out")[0] == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["GTVp.nii.gz", "Parotid_L.nii.gz"]
    for path in (tmp_path / "out").iterdir():
        assert np.array_equal(mask_of(path), mask)


def test_a_mask_on_another_grid_and_orientation_lands_where_it_lies(tmp_path: Path, volume: Volume) -> None:
    paths = write_series(tmp_path / "ct", volume)
    (tmp_path / "masks").mkdir()
    fine = Volume(np.zeros((18, 60, 70), np.float32), (1.0, 0.3, 0.4), volume.origin_mm)
    fine.array[6:12, 20:40, 10:30] = 0.9
    image = sitk.DICOMOrient(to_image(fine), "RPI")
    sitk.WriteImage(image, str(tmp_path / "masks" / "Box.nii.gz"))
    masks_to_rtstruct(paths, tmp_path / "masks", tmp_path / "rs.dcm")
    (written,) = rtstruct_to_masks(paths, tmp_path / "rs.dcm", tmp_path / "out").written
    expected = np.zeros(volume.shape, bool)
    z, y, x = np.indices(volume.shape)
    at = [np.rint(i * s / f) for i, s, f in zip((z, y, x), volume.spacing_mm, fine.spacing_mm, strict=True)]
    expected[(at[0] >= 6) & (at[0] < 12) & (at[1] >= 20) & (at[1] < 40) & (at[2] >= 10) & (at[2] < 30)] = True
    assert np.array_equal(mask_of(written) > 0, expected)


def test_hostile_and_double_roi_names_become_safe_files(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.write()
    ds = pydicom.dcmread(case.path)
    for roi, name in zip(ds.StructureSetROISequence, ["../../evil", "..\\..\\EVIL", "x", "y"], strict=True):
        roi.ROIName = name
    ds.save_as(case.path)
    result = rtstruct_to_masks(case.paths, case.path, tmp_path / "deep" / "out")
    names = sorted(p.name for p in result.written)
    assert names == ["EVIL_2.nii.gz", "evil.nii.gz"]
    assert {p.parent for p in result.written} == {tmp_path / "deep" / "out"}
    assert not list(tmp_path.parent.glob("evil*"))
    assert any("no contours" in note for note in result.notes)


def test_long_and_equal_mask_names_are_told(tmp_path: Path, volume: Volume) -> None:
    paths = write_series(tmp_path / "ct", volume)
    (tmp_path / "masks").mkdir()
    mask = to_image(volume.with_array((ball(volume, (3, 9, 22), 4) > 0).astype(np.uint8)))
    for name in ("Lobe_Temporal_Left_Clinic.nii.gz", "lobe_temporal_left_other.nrrd"):
        sitk.WriteImage(mask, str(tmp_path / "masks" / name))
    result = masks_to_rtstruct(paths, tmp_path / "masks", tmp_path / "rs.dcm")
    assert [s.name for s in read_structures(tmp_path / "rs.dcm")] == ["Lobe_Temporal_Le", "lobe_temporal__2"]
    assert len(result.notes) == 2


def test_an_empty_mask_is_a_roi_without_contours(tmp_path: Path, volume: Volume) -> None:
    paths = write_series(tmp_path / "ct", volume)
    (tmp_path / "masks").mkdir()
    sitk.WriteImage(
        to_image(volume.with_array(np.zeros(volume.shape, np.uint8))), str(tmp_path / "masks" / "Lens_L.nrrd")
    )
    result = masks_to_rtstruct(paths, tmp_path / "masks", tmp_path / "rs.dcm")
    assert result.notes == ("Lens_L: the mask is empty on this CT; written without contours",)
    with pytest.raises(StructureSetError, match="no contours on this CT"):
        rtstruct_to_masks(paths, tmp_path / "rs.dcm", tmp_path / "out")


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path: Path, volume: Volume) -> None:
    case = Case(tmp_path)
    case.write()
    write_series(case.ct / "second", volume, seed=9)
    status, output = run(case.ct, "--rtstruct", case.path, "--out", tmp_path / "out")
    assert status == 2
    assert case.series.series_uid in output
    assert run(case.ct, "--rtstruct", case.path, "--out", tmp_path / "out", "--series", case.series.series_uid)[0] == 0


def test_wrong_use_is_two_and_failure_is_one(tmp_path: Path) -> None:
    case = Case(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "Lens_L.nii.gz").write_bytes(b"no mask")
    assert run(case.ct, "--out", tmp_path / "x")[0] == 2
    assert run(tmp_path / "missing", "--masks", tmp_path, "--out", tmp_path / "x")[0] == 2
    for folder, reason in (("empty", "holds no masks"), ("junk", "cannot be read as a mask")):
        status, output = run(case.ct, "--masks", tmp_path / folder, "--out", tmp_path / "x.dcm")
        assert (status, reason in output) == (1, True)
    assert run(tmp_path / "empty", "--masks", tmp_path / "junk", "--out", tmp_path / "x.dcm")[0] == 1
    assert not (tmp_path / "x.dcm").exists()


def test_the_roi_is_named_as_the_file_without_its_suffix() -> None:
    assert [roi_name(Path(p)) for p in ("a.b.nii.gz", "A.NRRD", "c.nii")] == ["a.b", "A", "c"]
