"""Departments' DICOM trees: masks read back equal, names mapped, and every oddity of a structure set reported."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from rtseg_training.cli.app import app
from rtseg_training.sets.drawing import completed
from rtseg_training.sets.import_dicom import case_name
from rtseg_training.sets.joined import load_cases
from rtseg_training.sets.names import load_names
from typer.testing import CliRunner

from rtseg_daemon.anatomy.overlap import dice
from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.demo.phantom import make_phantom, write_series
from tests.structure_sets import patients
from tests.unit.training.sets.trees import ORGANS, change, read, roi


def test_masks_written_as_dicom_are_read_back(source: tuple[Path, Volume, dict[str, Array]]) -> None:
    tree, volume, masks = source
    (case,), report = read(tree)
    assert report.left_out == []
    assert case.status == dict.fromkeys(ORGANS, "drawn")
    corner = [
        round((o - v) / s) for o, v, s in zip(case.ct.origin_mm, volume.origin_mm, volume.spacing_mm, strict=True)
    ]
    box = tuple(slice(c, c + n) for c, n in zip(corner, case.ct.shape, strict=True))
    for name in ORGANS:
        assert int(masks[name].sum()) == int(masks[name][box].sum())
        assert dice(masks[name][box], case.mask(name)) > 0.999, name
    inside = case.mask("Brainstem")
    assert np.array_equal(case.ct.array[inside], volume.array[box][inside])


def test_the_case_is_named_by_a_digest_and_the_set_holds_no_identity(tree: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["import", str(tree), "--out", str(tmp_path / "set")])
    assert done.exit_code == 0
    (case,) = load_cases(tmp_path / "set")
    uid = pydicom.dcmread(next(tree.rglob("CT*.dcm")), stop_before_pixels=True).SeriesInstanceUID
    assert case.name == case_name(uid)
    written = b"".join(path.read_bytes() for path in (tmp_path / "set").iterdir())
    assert b"PHANTOM" not in written
    assert uid.encode() not in written


def test_names_are_mapped_and_what_is_unknown_is_reported(tree: Path) -> None:
    def rename(dataset: Dataset) -> None:
        roi(dataset, "Parotid_L")[0].ROIName = "PAROTIS LI."
        roi(dataset, "Bone_Mandible")[0].ROIName = "zzRing 5mm"

    change(tree, rename)
    (case,), report = read(tree)
    assert set(case.structures) == {"Brainstem", "Parotid_L"}
    assert report.mapped["PAROTIS LI.", "Parotid_L"] == 1
    assert report.unmapped["zzRing 5mm"] == 1
    assert "zzRing 5mm" in report.markdown(load_names())


def test_an_roi_without_contours_is_not_annotated(tree: Path) -> None:
    change(tree, lambda ds: roi(ds, "Parotid_L")[1].__delattr__("ContourSequence"))
    (case,), report = read(tree)
    assert "Parotid_L" not in case.structures
    assert any("'Parotid_L' is not annotated: it has no contours" in note for note in report.notes)


def test_points_are_no_organ(tree: Path) -> None:
    def as_points(dataset: Dataset) -> None:
        for contour in roi(dataset, "Parotid_L")[1].ContourSequence:
            contour.ContourGeometricType = "POINT"

    change(tree, as_points)
    (case,), report = read(tree)
    assert "Parotid_L" not in case.structures
    assert any("POINT" in note for note in report.notes)


def test_oblique_contours_are_refused(tree: Path) -> None:
    def tilt(dataset: Dataset) -> None:
        for contour in roi(dataset, "Parotid_L")[1].ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            points[:, 2] += np.linspace(0, 5, len(points))
            contour.ContourData = [f"{v:.3f}" for v in points.ravel()]

    change(tree, tilt)
    (case,), report = read(tree)
    assert "Parotid_L" not in case.structures
    assert any("not axial" in note for note in report.notes)


def test_an_organ_beyond_the_scan_is_outside_not_absent(tree: Path) -> None:
    def lift(dataset: Dataset) -> None:
        for contour in roi(dataset, "Parotid_L")[1].ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            points[:, 2] += 1000
            contour.ContourData = [f"{v:.3f}" for v in points.ravel()]

    change(tree, lift)
    (case,), report = read(tree)
    assert case.status["Parotid_L"] == "outside"
    assert not case.mask("Parotid_L").any()
    assert any("outside the scanned range" in note for note in report.notes)


def test_contours_on_every_second_slice_are_completed(
    tree: Path, source: tuple[Path, Volume, dict[str, Array]]
) -> None:
    def thin_out(dataset: Dataset) -> None:
        item = roi(dataset, "Brainstem")[1]
        heights = sorted({round(float(c.ContourData[2]), 3) for c in item.ContourSequence})
        kept = set(heights[::2])
        item.ContourSequence = [c for c in item.ContourSequence if round(float(c.ContourData[2]), 3) in kept]

    (whole,), _ = read(source[0])
    change(tree, thin_out)
    (case,), report = read(tree)
    assert dice(whole.mask("Brainstem"), case.mask("Brainstem")) > 0.93
    assert any("interpolated" in note for note in report.notes)


def test_a_single_missing_slice_stays_missing() -> None:
    mask = np.zeros((9, 5, 5), bool)
    mask[1:8, 1:4, 1:4] = True
    mask[4] = False
    found, added = completed(mask)
    assert added == 0
    assert np.array_equal(found, mask)


def test_of_two_structure_sets_the_newer_contour_is_taken(tree: Path) -> None:
    def newer(dataset: Dataset) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.77"
        dataset.StructureSetDate = "20991231"
        entry, drawn = roi(dataset, "Parotid_L")
        drawn.ContourSequence = drawn.ContourSequence[:4]
        dataset.StructureSetROISequence = [entry]
        dataset.ROIContourSequence = [drawn]

    (old,), _ = read(tree)
    change(tree, newer, to="rs2.dcm")
    (case,), report = read(tree)
    assert set(case.structures) == set(ORGANS)
    assert 0 < case.mask("Parotid_L").sum() < old.mask("Parotid_L").sum()
    (choice,) = report.choices
    assert "Parotid_L: 'Parotid_L' of file_" in choice
    assert choice.endswith(": the newer one")


def test_a_structure_set_of_another_ct_is_reported_and_not_used(tree: Path) -> None:
    def elsewhere(dataset: Dataset) -> None:
        frame = dataset.ReferencedFrameOfReferenceSequence[0]
        frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID = "2.25.5"

    change(tree, elsewhere)
    cases, report = read(tree)
    assert cases == []
    assert any("references a CT series that is not here" in line for line in report.left_out)


def test_one_broken_ct_does_not_stop_the_others(tree: Path) -> None:
    volume, _ = make_phantom(3, matrix=64)
    for path in write_series(volume, tree / "gap", seed=9)[50:52]:
        path.unlink()
    cases, report = read(tree)
    assert len(cases) == 1
    assert any("CT in file_" in line and "/gap: gap" in report.told(line) for line in report.left_out)


def test_a_template_roi_of_the_exact_name_hides_no_drawn_one(tree: Path) -> None:
    def with_template(dataset: Dataset) -> None:
        roi(dataset, "Parotid_L")[0].ROIName = "Parotis li"
        empty = Dataset()
        empty.ROINumber, empty.ROIName = 99, "Parotid_L"
        empty.ReferencedFrameOfReferenceUID = dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID
        dataset.StructureSetROISequence.insert(0, empty)

    change(tree, with_template)
    (case,), report = read(tree)
    assert case.status["Parotid_L"] == "drawn"
    (choice,) = report.choices
    assert choice.endswith(": it has contours")


def test_an_roi_that_is_oblique_in_part_is_not_annotated(tree: Path) -> None:
    def tilt(dataset: Dataset) -> None:
        contour = roi(dataset, "Parotid_L")[1].ContourSequence[2]
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        points[:, 2] += np.linspace(0, 5, len(points))
        contour.ContourData = [f"{v:.3f}" for v in points.ravel()]

    change(tree, tilt)
    (case,), report = read(tree)
    assert "Parotid_L" not in case.structures
    assert any("contours left out: a contour is not axial" in note for note in report.notes)


def test_a_point_among_contours_is_reported_and_the_rest_taken(tree: Path) -> None:
    change(tree, lambda ds: roi(ds, "Parotid_L")[1].ContourSequence[0].__setattr__("ContourGeometricType", "POINT"))
    (case,), report = read(tree)
    assert case.status["Parotid_L"] == "drawn"
    assert any("'Parotid_L': 1 of" in note and "POINT" in note for note in report.notes)


def test_an_roi_in_another_frame_of_reference_is_left_out(tree: Path) -> None:
    change(tree, lambda ds: roi(ds, "Brainstem")[0].__setattr__("ReferencedFrameOfReferenceUID", "2.25.9"))
    (case,), report = read(tree)
    assert set(case.structures) == set(ORGANS) - {"Brainstem"}
    assert any("'Brainstem' left out: it lies in another frame" in note for note in report.notes)


def second_series(tree: Path) -> None:
    """Another phase of the CT: the same frame of reference and positions, another series that `rs.dcm` names, too."""
    (folder,) = {path.parent for path in tree.rglob("CT*.dcm")} or {tree / "2026" / "plan" / "ct"}
    (tree / "second").mkdir()
    for path in sorted(folder.iterdir()):
        image = pydicom.dcmread(path)
        image.SeriesInstanceUID, image.SOPInstanceUID = "2.25.50", f"2.25.50.{image.InstanceNumber}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(tree / "second" / path.name)

    def name_both(dataset: Dataset) -> None:
        study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        second = Dataset()
        second.SeriesInstanceUID = "2.25.50"
        study.RTReferencedSeriesSequence.append(second)

    change(tree, name_both)


def without_images(dataset: Dataset) -> None:
    for item in dataset.ROIContourSequence:
        for contour in item.get("ContourSequence") or []:
            del contour.ContourImageSequence


def test_of_two_series_that_a_file_names_the_one_it_was_drawn_on_is_taught(tree: Path) -> None:
    (alone,), _ = read(tree)
    second_series(tree)
    (case,), report = read(tree)
    assert case.name == alone.name
    assert set(case.structures) == set(ORGANS)
    assert sum("were drawn on images of another series" in note for note in report.notes) == len(ORGANS)


def test_contours_of_two_series_in_one_roi_go_each_to_its_own(tree: Path) -> None:
    second_series(tree)

    def half(dataset: Dataset) -> None:
        contours = roi(dataset, "Brainstem")[1].ContourSequence
        for contour in contours[len(contours) // 2 :]:
            image = contour.ContourImageSequence[0]
            image.ReferencedSOPInstanceUID = "2.25.50.1"

    change(tree, half)
    cases, report = read(tree)
    drawn = {case.name: case for case in cases if "Brainstem" in case.structures}
    assert len(drawn) == 2
    assert sum("'Brainstem' left out" in note for note in report.notes) == 2


@pytest.mark.parametrize("named", [True, False])
def test_contours_without_images_go_to_no_series_where_several_may_be_meant(tree: Path, named: bool) -> None:
    second_series(tree)
    change(tree, without_images)
    if not named:
        change(tree, lambda ds: ds.__delattr__("ReferencedFrameOfReferenceSequence"))
    cases, report = read(tree)
    assert cases == []
    assert any("several CT series may be meant" in note for note in report.notes)


def test_contours_without_images_go_to_the_one_series_of_their_frame(tree: Path) -> None:
    change(tree, without_images)
    (case,), _ = read(tree)
    assert set(case.structures) == set(ORGANS)


def test_a_structure_set_of_no_frame_here_and_a_broken_one_are_reported(tree: Path) -> None:
    def adrift(dataset: Dataset) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.78"
        dataset.ReferencedFrameOfReferenceSequence = []
        for entry in dataset.StructureSetROISequence:
            entry.ReferencedFrameOfReferenceUID = "2.25.9"

    change(tree, adrift, to="rs2.dcm")
    (tree / "rs3.dcm").write_bytes((tree / "rs.dcm").read_bytes()[:3000])
    (tree / "rs4.dcm").write_bytes(b"nothing")
    _, report = read(tree)
    told = [report.told(line) for line in report.left_out]
    assert any("rs2.dcm names no CT series and lies in the frame of reference of no CT here" in line for line in told)
    assert any("rs3.dcm" in line for line in told)
    assert any("rs4.dcm cannot be read as DICOM" in line for line in told)


def test_names_of_folders_and_files_are_not_written(tree: Path, tmp_path: Path) -> None:
    volume, _ = make_phantom(3, matrix=64)
    place = tree / "DOE^JOHN_123456"
    for path in write_series(volume, place, seed=9)[50:52]:
        path.unlink()
    (place / "DOE.dcm").write_bytes(b"nothing")
    done = CliRunner().invoke(app, ["import", str(tree), "--out", str(tmp_path / "set")])
    assert done.exit_code == 0
    assert not any(b"DOE" in path.read_bytes() for path in (tmp_path / "set").iterdir())
    assert "DOE^JOHN_123456" in done.output.replace("\n", "") + done.stderr.replace("\n", "")


@pytest.mark.patients
def test_arias_own_contours_are_imported(tmp_path: Path) -> None:
    (case,), report = read(patients("dicom", "thorax_lung1_003_aria"))
    assert set(case.structures) == {"Esophagus", "Heart", "Lung_L", "Lung_R", "SpinalCord"}
    assert set(report.unmapped) == {"GTV-1", "gtv-2", "gtv-3"}
    volumes = {name: case.mask(name).sum() * case.ct.voxel_ml for name in case.structures}
    assert 1000 < volumes["Lung_L"] < 4000
    assert 15 < volumes["SpinalCord"] < 150
    left, right = (np.argwhere(case.mask(f"Lung_{side}"))[:, 2].mean() for side in "LR")
    assert left > right
