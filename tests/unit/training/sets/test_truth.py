"""Which structure set of several counts as truth, and what is said of the others."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from rtseg_training.cli.app import app
from rtseg_training.errors import CaseError
from rtseg_training.sets.cases import Case
from rtseg_training.sets.import_dicom import tree_sources
from rtseg_training.sets.joined import load_cases
from rtseg_training.sets.names import load_names
from rtseg_training.sets.report import ImportReport
from rtseg_training.sets.source import Rules
from rtseg_training.sets.truth import Origin, approval_of, rank, refusal, why
from typer.testing import CliRunner

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.ct.series import list_series, load_series
from rtseg_daemon.rtstruct.reading import Structure
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from rtseg_daemon.storage import Layout
from tests.structure_sets import by_a_person, organ_of, tiny_bundle
from tests.synthetic import write_series

ORGANS = ("Parotid_L", "Brainstem")
Add = Callable[..., Path]


def drawn(name: str = "Parotid_L", **facts: str) -> Structure:
    square = np.array([[0, 0, 0], [5, 0, 0], [5, 5, 0], [0, 5, 0]], float)
    return Structure(name, 1, "", "", (square,), (frozenset(),), **facts)  # type: ignore[arg-type]


def origin(approval: str = "UNAPPROVED", made_by: str = "Vendor", written: str = "20260101", uid: str = "1") -> Origin:
    return Origin("file_x", approval, made_by, written, uid)


@pytest.mark.parametrize(
    ("stated", "counts"),
    [("APPROVED", "APPROVED"), (" approved ", "APPROVED"), ("REJECTED", "REJECTED"), ("", "UNAPPROVED"),
     ("UNAPPROVED", "UNAPPROVED"), ("PERHAPS", "UNAPPROVED")],
)  # fmt: skip
def test_a_status_that_the_standard_does_not_know_is_unapproved(stated: str, counts: str) -> None:
    assert approval_of(stated) == counts


@pytest.mark.parametrize(
    ("file", "structure", "reason"),
    [
        (origin("REJECTED"), drawn(generation="MANUAL"), "the structure set is REJECTED"),
        (origin(), drawn(generation="AUTOMATIC"), "a program drew it (AUTOMATIC) and no person approved it"),
        (origin(made_by="rtseg-daemon rtseg-daemon"), drawn(), "the daemon drew it and no person approved it"),
        (origin(), drawn(description="OK vvc=0.1 entropy=0.2"), "the daemon drew it and no person approved it"),
        (origin(), drawn(generation="MANUAL"), ""),
        (origin(), drawn(generation="SEMIAUTOMATIC"), ""),
        (origin(), drawn(), ""),
        (origin("APPROVED"), drawn(generation="AUTOMATIC"), ""),
        (origin("APPROVED", "rtseg-daemon"), drawn(description="REVIEW vvc=na entropy=na"), ""),
    ],
)
def test_what_a_program_drew_counts_only_when_a_person_approved_it(
    file: Origin, structure: Structure, reason: str
) -> None:
    assert refusal(file, structure) == reason
    assert refusal(file, structure, any_status=True) == (reason if file.approval == "REJECTED" else "")


def test_approved_comes_before_newer_and_newer_before_the_exact_name() -> None:
    old, new = origin("APPROVED", written="2020"), origin(written="2026")
    assert rank(old, drawn("Parotis li"), "Parotid_L") > rank(new, drawn(), "Parotid_L")
    assert why(rank(old, drawn(), "Parotid_L"), rank(new, drawn(), "Parotid_L")) == "approved before unapproved"
    assert rank(new, drawn("Parotis li"), "Parotid_L") > rank(origin(written="2020"), drawn(), "Parotid_L")
    same = origin(written="2026", uid="0")
    assert why(rank(new, drawn(), "Parotid_L"), rank(same, drawn("li par"), "Parotid_L")) == "the exact TG-263 name"
    assert why(rank(new, drawn(), "x"), rank(same, drawn(), "x")) == "alike in all, the last by its identifier"


def patient() -> Volume:
    """A cylinder of water in air."""
    z, y, x = np.indices((8, 48, 64))
    inside = ((y - 24) / 20) ** 2 + ((x - 32) / 28) ** 2 < 1
    return Volume(np.where(inside & (z >= 0), 40, -1000).astype(np.int16), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One CT."""
    tree = tmp_path_factory.mktemp("archive")
    write_series(tree / "ct", patient())
    return tree


@pytest.fixture
def tree(archive: Path, tmp_path: Path) -> Path:
    shutil.copytree(archive, tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture
def add(tree: Path) -> Add:
    """Another structure set of the CT: balls of `radius`, changed by `how`."""

    def one(file: str, how: Callable[[Dataset], None] = by_a_person, radius: int = 5, date: str = "20260101") -> Path:
        series = load_series(list((tree / "ct").iterdir()))
        z, y, x = np.indices(series.volume.shape)
        organs = []
        for number, name in enumerate(ORGANS):
            mask = (z > 0) & (z < 6) & ((y - 24) ** 2 + (x - 20 - 16 * number) ** 2 < radius**2)
            organs.append(organ_of(name, mask, series.volume))
        bundle = tiny_bundle(*ORGANS)
        dataset = build_rtstruct(series, organs, [bundle], derive_identity(series, bundle.digest, 1, file))
        dataset.StructureSetDate = date
        how(dataset)
        write_dataset(dataset, tree / file)
        return tree / file

    return one


def read(tree: Path, any_status: bool = False) -> tuple[list[Case], ImportReport]:
    report, cases = ImportReport(), []
    for source in tree_sources(tree, list_series(tree), Rules(load_names(), any_status), report):
        try:
            cases.append(source.build())
        except CaseError as error:
            report.left_out.append(str(error))
    return cases, report


def unapproved(dataset: Dataset) -> None:
    by_a_person(dataset, "UNAPPROVED")


def rejected(dataset: Dataset) -> None:
    by_a_person(dataset, "REJECTED")


def in_german(dataset: Dataset) -> None:
    by_a_person(dataset)
    for roi, name in zip(dataset.StructureSetROISequence, ("Parotis li.", "Hirnstamm"), strict=True):
        roi.ROIName = name


def ours(_dataset: Dataset) -> None:
    """As the daemon wrote it: UNAPPROVED, AUTOMATIC."""


def size(case: Case) -> int:
    return int(case.mask("Parotid_L").sum())


def test_our_own_exact_names_do_not_beat_an_approved_set(tree: Path, add: Add) -> None:
    add("approved.dcm", in_german, radius=4, date="20200101")
    (alone,), _ = read(tree)
    add("ours.dcm", ours, radius=6, date="20260501")
    (case,), report = read(tree)
    assert size(case) == size(alone)
    (line,) = [note for note in report.notes if "'Parotid_L'" in note]
    assert line.endswith("left out: the daemon drew it and no person approved it")
    assert report.unapproved == []


def test_an_approved_set_beats_a_newer_unapproved_one_and_says_over_what(tree: Path, add: Add) -> None:
    add("approved.dcm", radius=4, date="20200101")
    (alone,), _ = read(tree)
    add("later.dcm", unapproved, radius=6, date="20260501")
    (case,), report = read(tree)
    assert size(case) == size(alone)
    choice = next(line for line in report.choices if "Parotid_L" in line)
    called = {path.name: alias for alias, path in report.files.items()}
    assert choice == (
        f"{case.name}: Parotid_L: 'Parotid_L' of {called['approved.dcm']} (APPROVED, 20200101) taken over 'Parotid_L' "
        f"of {called['later.dcm']} (UNAPPROVED, 20260501): approved before unapproved"
    )
    assert choice in report.markdown(load_names())


def test_of_equals_the_newest_is_taken(tree: Path, add: Add) -> None:
    add("a.dcm", radius=6, date="20260101")
    add("b.dcm", in_german, radius=4, date="20260501")
    (case,), report = read(tree)
    add("c.dcm", unapproved, radius=3, date="20270101")
    (again,), _ = read(tree)
    assert size(case) == size(again)
    assert any(line.endswith(": the newer one") for line in report.choices)
    (tree / "a.dcm").unlink()
    (newest,), _ = read(tree)
    assert size(newest) == size(case)


def test_a_rejected_set_is_never_taken(tree: Path, add: Add) -> None:
    add("rejected.dcm", rejected, date="20270101")
    cases, report = read(tree)
    assert cases == []
    assert "no approved set for the CT in" in report.left_out[0]
    assert "the structure set is REJECTED" in report.left_out[0]
    assert read(tree, any_status=True)[0] == []
    add("approved.dcm", radius=4, date="20200101")
    (case,), report = read(tree)
    assert size(case) > 0
    assert any(note.endswith("left out: the structure set is REJECTED") for note in report.notes)


def test_no_approved_set_is_said_and_what_to_do(tree: Path, add: Add, tmp_path: Path) -> None:
    add("ours.dcm", ours)
    words = ["import", str(tree), "--out", str(tmp_path / "set")]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "500"})
    assert done.exit_code == 1
    assert "no approved set for the CT in" in done.output
    assert "the daemon drew it and no person approved it" in done.output
    assert "approve the contours in the planning system and export them again, or give --any-status" in done.output
    done = CliRunner().invoke(app, [*words, "--any-status"], env={"COLUMNS": "500"})
    assert done.exit_code == 0, done.output
    assert "1 cases have no approved set: their contours come from sets that nobody approved" in done.output
    assert set(load_cases(tmp_path / "set")[0].structures) == set(ORGANS)


def test_a_person_drew_and_nobody_approved_is_taken_and_said(tree: Path, add: Add) -> None:
    add("manual.dcm", unapproved)
    (case,), report = read(tree)
    assert report.unapproved == [case.name]
    assert f"## No approved set\n\n- {case.name}\n" in report.markdown(load_names())


def test_our_own_set_counts_once_a_person_approved_it(tree: Path, add: Add) -> None:
    add("ours.dcm", lambda dataset: dataset.__setattr__("ApprovalStatus", "APPROVED"))
    (case,), report = read(tree)
    assert set(case.structures) == set(ORGANS)
    assert report.unapproved == []


def test_a_structure_set_that_lies_there_twice_is_taken_once(tree: Path, add: Add) -> None:
    path = add("approved.dcm")
    shutil.copy(path, tree / "copy.dcm")
    (case,), report = read(tree)
    assert set(case.structures) == set(ORGANS)
    assert any(note.endswith("are one structure set by their SOPInstanceUID: the same bytes") for note in report.notes)
    assert report.choices == []


def test_of_two_files_of_one_set_a_rejected_one_stands(tree: Path, add: Add) -> None:
    path = add("approved.dcm")
    dataset = pydicom.dcmread(path)
    dataset.ApprovalStatus = "REJECTED"
    dataset.save_as(tree / "later.dcm")
    cases, report = read(tree)
    assert cases == []
    assert any("they differ; one that is REJECTED was taken, else approved, else newer" in n for n in report.notes)


def test_a_set_of_another_frame_of_reference_disagrees_and_is_left_out(tree: Path, add: Add) -> None:
    """Two sets of one CT that disagree in geometry: the one that lies elsewhere is no truth."""

    def elsewhere(dataset: Dataset) -> None:
        by_a_person(dataset)
        for roi in dataset.StructureSetROISequence:
            roi.ReferencedFrameOfReferenceUID = "2.25.9"

    add("here.dcm", unapproved, radius=4, date="20200101")
    (alone,), _ = read(tree)
    add("elsewhere.dcm", elsewhere, radius=6, date="20260101")
    (case,), report = read(tree)
    assert size(case) == size(alone)
    assert f"{case.name}: 'Parotid_L' left out: it lies in another frame of reference" in report.notes


def test_contours_beside_the_slices_of_their_ct_disagree_and_are_said(tree: Path, add: Add) -> None:
    def shifted(dataset: Dataset) -> None:
        by_a_person(dataset)
        for item in dataset.ROIContourSequence:
            for contour in item.ContourSequence:
                points = np.array(contour.ContourData, float).reshape(-1, 3)
                points[:, 2] += 500
                contour.ContourData = [f"{v:.3f}" for v in points.ravel()]

    add("shifted.dcm", shifted)
    (case,), report = read(tree)
    assert set(case.status.values()) == {"outside"}
    assert f"{case.name}: 'Parotid_L' lies outside the scanned range" in report.notes


@pytest.mark.parametrize("place", ["", "results", "results/7"])
def test_a_storage_directory_of_the_daemon_is_refused(tmp_path: Path, place: str) -> None:
    storage = tmp_path / "var" / "rtseg"
    Layout(storage).create()
    (storage / "results" / "7").mkdir()
    words = "is the storage directory of the daemon: .* no person approved them. Export the CTs from the planning"
    for source in (storage / place, *([tmp_path / "var"] if not place else [])):
        with pytest.raises(CaseError, match=words):
            CliRunner().invoke(app, ["import", str(source), "--out", str(tmp_path / "set")], catch_exceptions=False)
    assert not (tmp_path / "set").exists()
