"""`rtseg-daemon convert`: masks on any grid to a structure set, and back, with names nobody can abuse."""

import gzip
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import typer
from typer.testing import CliRunner

from rtseg_daemon.anatomy.image import to_image
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.cli.convert import convert
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.rtstruct.reading import read_structures
from rtseg_daemon.work.convert import masks_to_rtstruct, rtstruct_to_masks
from rtseg_daemon.work.masks import roi_name
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


def test_names_in_any_script_survive_as_file_names_and_every_renaming_is_told(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.write(rejected="send")
    ds = pydicom.dcmread(case.path)
    ds.SpecificCharacterSet = "ISO_IR 192"
    names = ["脑干", "Слюнная железа Л", "視神経_R", "‮evil/​.nii"]
    for roi, name in zip(ds.StructureSetROISequence, names, strict=True):
        roi.ROIName = name
    ds.save_as(case.path)
    result = rtstruct_to_masks(case.paths, case.path, tmp_path / "out")
    files = [path.name for path in result.written]
    assert files[0] == "脑干.nii.gz"
    assert "Слюнная_железа_Л.nii.gz" in files
    assert {"'Слюнная железа Л' is written as Слюнная_железа_Л.nii.gz"} <= set(result.notes)
    assert not any("脑干" in note for note in result.notes)
    assert not any(set("‮​/") & set(name) for name in files)


def written_masks(tmp_path: Path, volume: Volume, **arrays: np.ndarray) -> tuple[list[Path], Path]:
    """A CT and a folder of masks on its grid, `name=array`; `__` in a name stands for its dot."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for name, array in arrays.items():
        sitk.WriteImage(to_image(volume.with_array(array)), str(folder / name.replace("__", ".")))
    return write_series(tmp_path / "ct", volume), folder


def three_labels(volume: Volume, *values: int) -> np.ndarray:
    labels = np.zeros(volume.shape, np.int16)
    for k, value in enumerate(values):
        labels[2:4, 4:12, 2 + 9 * k : 9 + 9 * k] = value
    return labels


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("values", [(1, 2, 3), (1, 117, 255)])
def test_a_label_map_becomes_one_roi_per_label(
    tmp_path: Path, volume: Volume, kind: type, values: tuple[int, ...]
) -> None:
    labels = three_labels(volume, *values)
    if values[-1] > 127 and kind is np.int16:
        labels = labels.astype(np.int32)
    paths, folder = written_masks(tmp_path, volume, organs__nii__gz=labels.astype(kind))
    result = masks_to_rtstruct(paths, folder, tmp_path / "rs.dcm")
    assert [s.name for s in read_structures(tmp_path / "rs.dcm")] == [f"organs_{value}" for value in values]
    assert result.notes[0] == f"organs.nii.gz is a map of 3 labels: organs_{values[0]} is written as organs_{values[0]}"
    rtstruct_to_masks(paths, tmp_path / "rs.dcm", tmp_path / "back")
    for value in values:
        assert np.array_equal(mask_of(tmp_path / "back" / f"organs_{value}.nii.gz") > 0, labels == value)


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_of_one_value_is_named_as_its_file(tmp_path: Path, volume: Volume, value: int) -> None:
    paths, folder = written_masks(tmp_path, volume, Cord__nrrd=three_labels(volume, value).astype(np.int32))
    assert masks_to_rtstruct(paths, folder, tmp_path / "rs.dcm").notes == ()
    assert [s.name for s in read_structures(tmp_path / "rs.dcm")] == ["Cord"]


def test_a_long_name_is_cut_before_the_labels_number(tmp_path: Path, volume: Volume) -> None:
    paths, folder = written_masks(tmp_path, volume, total_segmentation__nii=three_labels(volume, 1, 2))
    masks_to_rtstruct(paths, folder, tmp_path / "rs.dcm")
    assert [s.name for s in read_structures(tmp_path / "rs.dcm")] == ["total_segmenta_1", "total_segmenta_2"]


def test_slicers_segments_keep_their_names(tmp_path: Path, volume: Volume) -> None:
    first, second = three_labels(volume, 1, 2), three_labels(volume, 0, 1)
    image = sitk.Compose(*(to_image(volume.with_array(layer.astype(np.uint8))) for layer in (first, second)))
    for n, (name, layer, value) in enumerate((("Parotid_L", 0, 1), ("Parotid_R", 0, 2), ("PTV", 1, 1))):
        image.SetMetaData(f"Segment{n}_Name", name)
        image.SetMetaData(f"Segment{n}_Layer", str(layer))
        image.SetMetaData(f"Segment{n}_LabelValue", str(value))
    (tmp_path / "masks").mkdir()
    sitk.WriteImage(image, str(tmp_path / "masks" / "Plan.seg.nrrd"))
    paths = write_series(tmp_path / "ct", volume)
    masks_to_rtstruct(paths, tmp_path / "masks", tmp_path / "rs.dcm")
    assert [s.name for s in read_structures(tmp_path / "rs.dcm")] == ["Parotid_L", "Parotid_R", "PTV"]
    rtstruct_to_masks(paths, tmp_path / "rs.dcm", tmp_path / "back")
    assert np.array_equal(mask_of(tmp_path / "back" / "PTV.nii.gz") > 0, second == 1)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_nifti_files_own_table_names_its_labels(tmp_path: Path, volume: Volume, suffix: str) -> None:
    paths, folder = written_masks(tmp_path, volume, plain__nii=three_labels(volume, 1, 2).astype(np.uint8))
    raw = (folder / "plain.nii").read_bytes()
    table = b'<LabelTable><Label Key="1" Red="1"><![CDATA[spleen]]></Label><Label Key="2">liver</Label></LabelTable>'
    extension = len(table).to_bytes(4, "little") + bytes(4) + table
    start = np.array([352 + len(extension)], "<f4").tobytes()
    head = raw[:108] + start + raw[112:348] + b"\1\0\0\0"
    (folder / "plain.nii").unlink()
    body = head + extension + raw[352:]
    (folder / f"map{suffix}").write_bytes(gzip.compress(body) if suffix == ".nii.gz" else body)
    masks_to_rtstruct(paths, folder, tmp_path / "rs.dcm")
    assert [s.name for s in read_structures(tmp_path / "rs.dcm")] == ["spleen", "liver"]


NO_MASKS = {
    "an image": (lambda v: v.array, "negative values"),
    "another image": (lambda v: v.array.astype(np.int32) + 1024, "different values"),
    "a soft image": (lambda v: (v.array.astype(np.float32) + 1024) / 3, "no labels"),
}


@pytest.mark.parametrize("case", NO_MASKS)
def test_what_is_no_mask_is_left_out_with_the_reason_and_the_others_go_on(
    tmp_path: Path, volume: Volume, case: str
) -> None:
    make, reason = NO_MASKS[case]
    good = three_labels(volume, 1).astype(np.uint8)
    paths, folder = written_masks(tmp_path, volume, A__nrrd=make(volume), B__nrrd=good)
    (folder / "C.nii.gz").write_bytes(b"cut short")
    (folder / "._B.nrrd").write_bytes(b"\0\5\x16\7")
    result = masks_to_rtstruct(paths, folder, tmp_path / "rs.dcm")
    assert [s.name for s in read_structures(tmp_path / "rs.dcm")] == ["B"]
    hidden, image, cut = result.notes
    assert hidden == "._B.nrrd is a hidden file and was passed over"
    assert image.startswith("A.nrrd")
    assert reason in image
    assert image.endswith("left out")
    assert cut.startswith("C.nii.gz: it cannot be read as a mask")


def test_a_probability_is_cut_at_one_half(tmp_path: Path, volume: Volume) -> None:
    soft = three_labels(volume, 1).astype(np.float32) * 0.8 + 0.1
    paths, folder = written_masks(tmp_path, volume, Soft__nrrd=soft)
    masks_to_rtstruct(paths, folder, tmp_path / "rs.dcm")
    rtstruct_to_masks(paths, tmp_path / "rs.dcm", tmp_path / "back")
    assert np.array_equal(mask_of(tmp_path / "back" / "Soft.nii.gz") > 0, soft > 0.5)


def test_axes_that_are_not_at_right_angles_are_named(tmp_path: Path, volume: Volume) -> None:
    good = three_labels(volume, 1).astype(np.uint8)
    paths, folder = written_masks(tmp_path, volume, A__nii=good, B__nii=good)
    raw = bytearray((folder / "A.nii").read_bytes())
    raw[252:254] = bytes(2)  # no qform: the sform counts
    row = np.frombuffer(raw, "<f4", 4, 280).copy()
    row[1] += 0.002
    raw[280:296] = row.tobytes()
    (folder / "A.nii").write_bytes(raw)
    (note,) = masks_to_rtstruct(paths, folder, tmp_path / "rs.dcm").notes
    assert note == "A.nii: its axes are not at right angles (not orthonormal); save the mask on the CT's grid; left out"


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
