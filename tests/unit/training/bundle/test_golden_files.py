"""Golden cases of patients: de-identified, outside every repository, and found again by their digest."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rtseg_training.bundle.golden_files import keep_golden
from rtseg_training.errors import ExportError
from rtseg_training.sets.cases import Case, save_case
from rtseg_training.sets.joined import Listed, listed
from rtseg_training.sets.manifest import write_manifest

from rtseg_daemon.demo.golden import load_case, overlap
from rtseg_daemon.errors import BundleError
from tests.unit.training.conftest import no_room


@pytest.fixture(scope="module")
def canary(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Listed:
    """A case whose name would tell who it is."""
    folder = tmp_path_factory.mktemp("named")
    known = replace(case, name="CANARY_DOE_JOHN")
    write_manifest(folder, [save_case(known, folder)], "archive of CANARY", [])
    return listed(folder)[0]


def test_a_golden_file_holds_image_and_organs_and_no_word_of_the_patient(
    canary: Listed, case: Case, tmp_path: Path
) -> None:
    folder = tmp_path / "golden"
    (golden,) = keep_golden([canary], ["Larynx", "Parotid_L", "Brainstem"], folder)
    assert golden.dice == {}
    assert golden.file is not None
    path = folder / golden.file
    assert path.name == f"golden-{str(golden.sha256)[:16]}.npz"
    assert [oct(p.stat().st_mode & 0o777) for p in (path, folder)] == ["0o600", "0o700"]
    with np.load(path) as data:
        assert set(data.files) == {"ct", "bits", "organs", "spacing_mm", "origin_mm"}
        assert data["organs"].tolist() == ["Parotid_L", "Brainstem"]
        assert data["origin_mm"].tolist() == [0.0, 0.0, 0.0]
    assert b"CANARY" not in path.read_bytes() + golden.model_dump_json().encode()
    found = load_case(golden, folder)
    assert (found.masks["Parotid_L"] == case.mask("Parotid_L")).all()
    assert found.ct.shape == case.ct.shape
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"golden case .*golden-\w+\.npz was altered .*; copy it there"):
        load_case(golden, folder)


def test_a_repository_takes_no_golden_case_of_a_patient(canary: Listed, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(ExportError, match=r"lies in the repository .*: images of patients belong in none"):
        keep_golden([canary], ["Parotid_L"], tmp_path / "deep" / "golden")
    assert not (tmp_path / "deep").exists()


def test_cases_without_an_organ_of_the_bundle_are_no_golden_cases(canary: Listed, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no golden case has an organ of this bundle drawn \(GTVp\)"):
        keep_golden([canary], ["GTVp"], tmp_path)


def test_a_full_disk_leaves_no_half_of_a_golden_case(canary: Listed, tmp_path: Path) -> None:
    with (
        no_room(1000),
        pytest.raises(ExportError, match=r"golden case cannot be written \(File too large\)"),
    ):
        keep_golden([canary], ["Parotid_L"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_overlap_counts_what_was_missed_as_nothing(case: Case) -> None:
    from rtseg_daemon.anatomy.organ import Organ

    absent = Organ("Parotid_L", None, None, None, 0.0)
    assert overlap(case.mask("Parotid_L"), absent) == 0.0
    assert overlap(np.zeros(case.ct.shape, bool), absent) == 1.0
