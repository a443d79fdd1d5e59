"""Data sets that grow: imported twice, interrupted, onto a full disk, with and without the department's key."""

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from rtseg_training.cli.app import app
from rtseg_training.errors import CaseError
from rtseg_training.sets import importing
from rtseg_training.sets.import_dicom import case_name
from rtseg_training.sets.joined import listed, load_cases
from rtseg_training.sets.key_file import open_key
from rtseg_training.sets.manifest import MANIFEST, key_of_set, read_document
from typer.testing import CliRunner, Result

from rtseg_daemon.anatomy.image import to_image
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.feedback.patient_key import PatientKey
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from tests.structure_sets import by_a_person, organ_of, tiny_bundle
from tests.synthetic import write_series
from tests.unit.training.conftest import no_room
from tests.unit.training.sets.test_truth import patient

WIDE = {"COLUMNS": "600"}


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env=WIDE)


def dicom_case(place: Path, seed: int, **header: str) -> str:
    """A CT and an approved structure set in `place`, with values of its header. Returns its case's name."""

    def told(_number: int, dataset: Any) -> None:
        dataset.PatientName = header.get("PatientID", "")
        for keyword, value in header.items():
            setattr(dataset, keyword, value)

    series = load_series(write_series(place / f"ct{seed}", patient(), seed=seed, change=told))
    z, y, x = np.indices(series.volume.shape)
    mask = (z > 0) & (z < 6) & ((y - 24) ** 2 + (x - 20) ** 2 < 25)
    bundle = tiny_bundle("Parotid_L")
    dataset = build_rtstruct(
        series, [organ_of("Parotid_L", mask, series.volume)], [bundle], derive_identity(series, bundle.digest, 1)
    )
    by_a_person(dataset)
    write_dataset(dataset, place / f"rs{seed}.dcm")
    return case_name(series.series_uid)


def nifti_case(place: Path, name: str, organ: str = "Parotid_L") -> Path:
    """A case folder of images."""
    folder = place / name
    (folder / "segmentations").mkdir(parents=True)
    volume = patient()
    sitk.WriteImage(to_image(volume), str(folder / "ct.nii.gz"))
    mask = np.zeros(volume.shape, np.uint8)
    mask[2:5, 20:28, 20:30] = 1
    sitk.WriteImage(to_image(volume.with_array(mask)), str(folder / "segmentations" / f"{organ}.nii.gz"))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Two patients, and a re-planning CT of the first."""
    place = tmp_path_factory.mktemp("made")
    names = [dicom_case(place, seed, PatientID=who) for seed, who in ((1, "A1"), (2, "B2"), (3, "A1"))]
    return place, names


@pytest.fixture
def archive(made: tuple[Path, list[str]], tmp_path: Path) -> Path:
    shutil.copytree(made[0], tmp_path / "archive")
    return tmp_path / "archive"


def test_a_replanning_ct_is_of_the_same_patient(archive: Path, made: tuple[Path, list[str]], tmp_path: Path) -> None:
    assert run("import", archive, "--out", tmp_path / "sets" / "all").exit_code == 0
    patients = {one.name: one.patient for one in listed(tmp_path / "sets" / "all")}
    first, other, again = (patients[name] for name in made[1])
    assert first == again != other
    assert first.startswith("pt_")


def test_the_key_file_tells_case_to_patient_series_and_file_and_is_private(
    archive: Path, made: tuple[Path, list[str]], tmp_path: Path
) -> None:
    run("import", archive, "--out", tmp_path / "sets" / "all")
    path = tmp_path / "sets" / "patients.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (rows,) = json.loads(path.read_text())["sets"].values()
    row = rows[made[1][0]]
    assert row["patient_id"] == "A1"
    assert row["series_instance_uid"] == load_series(list((archive / "ct1").iterdir())).series_uid
    assert set(row["folders"]) == {str(archive), str(archive / "ct1")}
    assert row["structure_sets"] == [str(archive / "rs1.dcm")]
    salt = json.loads(path.read_text())["salt"]
    written = b"".join(file.read_bytes() for file in (tmp_path / "sets" / "all").iterdir())
    assert salt.encode() not in written
    assert all(one.patient != "A1" for one in listed(tmp_path / "sets" / "all"))


def test_digests_cannot_be_guessed_without_the_salt_and_agree_with_it(tmp_path: Path) -> None:
    one, other = open_key(tmp_path / "a.key"), open_key(tmp_path / "b.key")
    assert one.digest("A1") != other.digest("A1")
    assert one.identity != other.identity
    one.save()
    again = open_key(tmp_path / "a.key")
    assert (again.digest("A1"), again.identity) == (one.digest("A1"), one.identity)
    assert one.digest("") == ""


def test_sets_of_one_department_are_compared_by_its_key(archive: Path, tmp_path: Path) -> None:
    """Two sets beside each other share the key. One elsewhere is given it."""
    shutil.rmtree(archive / "ct2")
    again = tmp_path / "again"
    again.mkdir()
    for name in ("ct3", "rs3.dcm"):
        shutil.move(archive / name, again / name)
    run("import", archive, "--out", tmp_path / "sets" / "train")
    run("import", again, "--out", tmp_path / "elsewhere" / "validation", "--key", tmp_path / "sets" / "patients.key")
    (one,), (other,) = listed(tmp_path / "sets" / "train"), listed(tmp_path / "elsewhere" / "validation")
    assert one.patient == other.patient
    assert not (tmp_path / "elsewhere" / "patients.key").exists()


def test_a_set_imported_with_another_key_is_not_added_to(archive: Path, tmp_path: Path) -> None:
    run("import", archive, "--out", tmp_path / "sets" / "all")
    with pytest.raises(CaseError, match=r"was imported with another key file than .*new\.key; give that one by --key"):
        CliRunner().invoke(
            app,
            ["import", str(archive), "--out", str(tmp_path / "sets" / "all"), "--key", str(tmp_path / "new.key")],
            catch_exceptions=False,
        )


def test_a_key_file_that_others_may_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "patients.key"
    open_key(path).save()
    path.chmod(0o640)
    with pytest.raises(CaseError, match=r"others may read it \(mode 640\): chmod 600 "):
        open_key(path)
    path.chmod(0o600)
    path.write_text("{")
    with pytest.raises(CaseError, match=r"key file .*patients\.key is damaged or is none; bring back its copy"):
        open_key(path)


def test_a_set_that_is_imported_twice_stays_as_it_is(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "sets" / "all"
    assert "3 cases imported, 0 left out" in run("import", archive, "--out", out).output
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(importing.OpenSet, "put", no_case)
    done = run("import", archive, "--out", out)
    assert done.exit_code == 0, done.output
    assert "0 cases imported, 3 in the set already, 0 left out" in done.output
    assert all(before[name] == (out / name).read_bytes() for name in before if name != importing.REPORT)


def no_case(*_: object) -> str:
    raise AssertionError("the case is there already and need not be read")


def test_files_that_were_only_copied_are_the_same_case(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "sets" / "all"
    run("import", archive, "--out", out)
    before = read_document(out)["cases"]
    for path in archive.rglob("*.dcm"):
        path.touch()
    assert "0 cases imported, 3 in the set already" in run("import", archive, "--out", out).output
    strip = [{k: v for k, v in entry.items() if k != "state"} for entry in read_document(out)["cases"]]  # type: ignore[attr-defined]
    assert strip == [{k: v for k, v in entry.items() if k != "state"} for entry in before]  # type: ignore[attr-defined]


def test_an_import_adds_and_folders_and_dicom_trees_go_into_one(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "sets" / "all"
    run("import", archive, "--out", out)
    nifti_case(tmp_path / "folders", "pat7")
    done = run("import", tmp_path / "folders", "--out", out)
    assert "1 cases imported, 0 left out" in done.output
    assert len(load_cases(out)) == 4
    assert (out / importing.REPORT).read_text().count("# Import\n") == 2
    assert len({one.patient for one in listed(out)}) == 3
    both = tmp_path / "both"
    shutil.copytree(archive, both)
    nifti_case(both, "pat8")
    assert "4 cases imported" in run("import", both, "--out", tmp_path / "sets" / "both").output


def test_a_case_that_changed_is_kept_until_it_is_replaced(tmp_path: Path) -> None:
    folder, out = nifti_case(tmp_path / "folders", "pat7"), tmp_path / "sets" / "all"
    run("import", tmp_path / "folders", "--out", out)
    (old,) = load_cases(out)
    mask = folder / "segmentations" / "Parotid_L.nii.gz"
    image = sitk.ReadImage(str(mask))
    image[25, 25, 6] = 1
    sitk.WriteImage(image, str(mask))
    done = run("import", tmp_path / "folders", "--out", out)
    assert "case pat7 is in the set already, with other images or contours; --replace takes the new ones" in done.output
    assert np.array_equal(load_cases(out)[0].bits, old.bits)
    done = run("import", tmp_path / "folders", "--out", out, "--replace")
    assert "0 cases imported, 1 replaced, 0 left out" in done.output
    (new,) = load_cases(out)
    assert int(new.mask("Parotid_L").sum()) == int(old.mask("Parotid_L").sum()) + 1
    assert len(list(out.glob("*.npz"))) == 1


@pytest.mark.parametrize("stage", ["save_case", "write_manifest"])
def test_an_interrupted_import_goes_on_with_the_same_command(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    out = tmp_path / "sets" / "all"
    real, calls = getattr(importing, stage), []

    def killed(*words: Any) -> Any:
        calls.append(words)
        if len(calls) == 2:
            (out / "ct_half.partial").write_bytes(b"half a case")
            raise KeyboardInterrupt
        return real(*words)

    monkeypatch.setattr(importing, stage, killed)
    assert run("import", archive, "--out", out).exit_code != 0
    assert len(load_cases(out)) == 1
    monkeypatch.setattr(importing, stage, real)
    done = run("import", archive, "--out", out)
    assert "2 cases imported, 1 in the set already, 0 left out" in done.output
    assert len(load_cases(out)) == 3
    assert not list(out.glob("*.partial"))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("folder", r"all cannot be made \(No space left on device\); give another --out"),
        ("key", r"key file .*patients\.key cannot be written \(File too large\); make room, or give another place"),
        ("case", r"case ct_\w+: .*\.npz cannot be written \(File too large\); 0 cases are in .*: make room, give"),
        ("manifest", r"manifest\.json cannot be written \(File too large\); 1 cases are in .*: make room, give"),
        ("report", r"import\.md cannot be written \(File too large\); 1 cases are in .*: make room, give"),
    ],
)  # fmt: skip
def test_a_full_disk_at_each_stage_is_said_and_the_import_goes_on_later(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, message: str
) -> None:
    out = tmp_path / "sets" / "all"
    words = ["import", str(archive), "--out", str(out)]
    with monkeypatch.context() as patch:
        if stage == "folder":
            patch.setattr(Path, "mkdir", disk_full)
        else:
            owner, name = {
                "key": (PatientKey, "save"),
                "case": (importing, "save_case"),
                "manifest": (importing, "write_manifest"),
                "report": (importing.ImportReport, "markdown"),
            }[stage]
            patch.setattr(owner, name, without_room(getattr(owner, name)))
            if stage == "report":
                patch.setattr(importing.ImportReport, "markdown", lambda *_: "x" * 2**20)
                patch.setattr(importing.OpenSet, "write", without_room(importing.OpenSet.write, 2**19))
        with pytest.raises(CaseError, match=message):
            CliRunner().invoke(app, words, catch_exceptions=False)
    assert not list(out.glob("*.partial")) if out.exists() else True
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert len(load_cases(out)) == 3


def disk_full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def without_room(real: Callable[..., Any], room: int = 20) -> Callable[..., Any]:
    """What `real` does on a disk with `room` bytes left."""

    def call(*words: Any) -> Any:
        with no_room(room):
            return real(*words)

    return call


def test_two_patients_under_one_id_are_left_out(tmp_path: Path) -> None:
    place = tmp_path / "archive"
    a = dicom_case(place, 1, PatientID="A1", PatientBirthDate="19500101")
    b = dicom_case(place, 2, PatientID="A1", PatientBirthDate="19610203")
    dicom_case(place, 3, PatientID="B2", PatientBirthDate="19500101")
    done = run("import", place, "--out", tmp_path / "sets" / "all")
    assert done.exit_code == 0
    for case in (a, b):
        assert f"case {case}: two patients under one PatientID: the birth dates of" in done.output
    assert len(load_cases(tmp_path / "sets" / "all")) == 1


def test_one_patient_under_two_ids_counts_as_one_also_in_another_set(tmp_path: Path) -> None:
    who = {"PatientName": "Doe^John", "PatientBirthDate": "19500101"}
    dicom_case(tmp_path / "first", 1, PatientID="A1", **who)
    dicom_case(tmp_path / "again", 2, PatientID="B2", **who)
    run("import", tmp_path / "first", "--out", tmp_path / "sets" / "train")
    run("import", tmp_path / "again", "--out", tmp_path / "sets" / "validation")
    (one,), (other,) = listed(tmp_path / "sets" / "train"), listed(tmp_path / "sets" / "validation")
    assert one.patient == other.patient
    report = (tmp_path / "sets" / "validation" / importing.REPORT).read_text()
    assert "one patient under two PatientIDs (name and birth date are the same), they count as one" in report
    assert "doe" not in report.lower()


def test_a_structure_set_of_another_patient_is_left_out(tmp_path: Path) -> None:
    place = tmp_path / "archive"
    dicom_case(place, 1, PatientID="A1")
    dataset = pydicom.dcmread(place / "rs1.dcm")
    dataset.PatientID = dataset.PatientName = "B2"
    dataset.save_as(place / "rs1.dcm")
    done = run("import", place, "--out", tmp_path / "sets" / "all")
    assert done.exit_code == 1
    assert "has another PatientID; correct one in the archive" in done.output


def test_folders_without_identity_are_a_patient_each_or_as_a_table_tells(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        nifti_case(tmp_path / "folders", name)
    run("import", tmp_path / "folders", "--out", tmp_path / "sets" / "a")
    assert len({one.patient for one in listed(tmp_path / "sets" / "a")}) == 3
    (tmp_path / "folders" / "patients.csv").write_text("case,patient\none,P1\nthree,P1\n")
    run("import", tmp_path / "folders", "--out", tmp_path / "sets" / "b")
    patients = {one.name: one.patient for one in listed(tmp_path / "sets" / "b")}
    assert patients["one"] == patients["three"] != patients["two"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,patient\none,P1\none,P2\n", "case one has two patients; leave one"),
        ("case,patient\none,\n", "a line has no case or no patient; give both, or take the line out"),
        ("name,id\none,P1\n", r"patients\.csv is no table of `case,patient` in UTF-8"),
    ],
)
def test_a_wrong_table_of_patients_is_named(tmp_path: Path, text: str, message: str) -> None:
    nifti_case(tmp_path / "folders", "one")
    (tmp_path / "folders" / "patients.csv").write_text(text)
    with pytest.raises(CaseError, match=message):
        CliRunner().invoke(
            app, ["import", str(tmp_path / "folders"), "--out", str(tmp_path / "set")], catch_exceptions=False
        )


def test_images_that_name_no_patient_are_said(tmp_path: Path) -> None:
    case = dicom_case(tmp_path / "archive", 1, PatientID="")
    out = tmp_path / "sets" / "all"
    run("import", tmp_path / "archive", "--out", out)
    assert f"{case}: its images name no patient; patients.csv may tell" in (out / importing.REPORT).read_text()
    assert [one.patient for one in listed(out)] == [""]
    (tmp_path / "archive" / "patients.csv").write_text(f"case,patient\n{case},P1\n")
    run("import", tmp_path / "archive", "--out", out)
    assert [bool(one.patient) for one in listed(out)] == [True]


def test_a_set_of_an_older_version_learns_its_patients_by_another_import(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "sets" / "all"
    run("import", archive, "--out", out)
    document = json.loads((out / MANIFEST).read_text())
    old = {"format": 1, "source": "x", "left_out": [], "cases": [
        {k: v for k, v in entry.items() if k not in ("patient", "state")} for entry in document["cases"]
    ]}  # fmt: skip
    (out / MANIFEST).write_text(json.dumps(old))
    assert key_of_set(out) == ""
    assert [one.patient for one in listed(out)] == ["", "", ""]
    assert "3 in the set already" in run("import", archive, "--out", out).output
    assert read_document(out)["cases"] == document["cases"]
    assert read_document(out)["patients"] == document["patients"]


def test_unmapped_names_are_shown_with_a_suggestion(tmp_path: Path) -> None:
    nifti_case(tmp_path / "folders", "one", organ="Parottid_L")
    done = run("import", tmp_path / "folders", "--out", tmp_path / "sets" / "all")
    assert "not mapped: 'Parottid_L', perhaps Parotid_L" in done.output
    assert "| Parottid_L | 1 | Parotid_L |" in (tmp_path / "sets" / "all" / importing.REPORT).read_text()


def test_names_in_brackets_are_no_markup(tmp_path: Path) -> None:
    (nifti_case(tmp_path / "fol[/red]ders", "one") / "ct.nii.gz").write_bytes(b"no image")
    nifti_case(tmp_path / "fol[/red]ders", "two", organ="Parottid_[b]L")
    done = run("import", tmp_path / "fol[/red]ders", "--out", tmp_path / "sets" / "all")
    assert done.exit_code == 0, done.output
    assert "fol[/red]ders/one/ct.nii.gz cannot be read as an image" in done.output
    assert "'Parottid_[b]L'" in done.output


def test_a_source_that_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="archive is no folder; give the folder that the planning system exported to"):
        CliRunner().invoke(app, ["import", str(tmp_path / "archive"), "--out", "x"], catch_exceptions=False)
