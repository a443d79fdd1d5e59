"""What `evaluate` measures is what the daemon says of the CT as it came from the scanner: a real patient."""

from pathlib import Path

import numpy as np
import pytest
from rtseg_training.cli.app import app
from rtseg_training.measure.evaluate import full_mask, open_bundle, open_segmenter
from rtseg_training.measure.tables import read_csv
from rtseg_training.sets.cases import make_case, save_case
from rtseg_training.sets.joined import cut_by_import, listed
from rtseg_training.sets.manifest import write_manifest
from typer.testing import CliRunner

from rtseg_daemon.anatomy.volume import Box
from rtseg_daemon.ct.series import list_series, load_series
from tests.tiny import make_bundle

PATIENT = Path(__file__).parents[5] / "shared" / "data" / "dicom" / "hn_cerr_511"


@pytest.mark.skipif(not PATIENT.is_dir(), reason="the real patient's CT is not there")
def test_evaluation_finds_in_a_real_patient_what_the_daemon_finds(tmp_path: Path) -> None:
    """The daemon's own contours, imported as the truth, are found again voxel by voxel.

    The networks have random weights: they answer to every shift of their grid.
    """
    bundle = make_bundle(tmp_path / "models", members=1)
    (headers,) = list_series(PATIENT).values()
    whole = load_series(headers).volume
    ct = whole.crop(Box((40, 0, 0), (52, *whole.shape[1:])))  # twelve slices, from edge to edge
    segmenter = open_segmenter(open_bundle(bundle), 1)
    organs = [organ for organ in segmenter.segment_volume(ct).organs if organ.mask is not None]
    assert organs
    case = make_case("real", ct, {organ.name: full_mask(organ, ct) for organ in organs})
    write_manifest(tmp_path, [save_case(case, tmp_path)], "x", [])
    words = ["evaluate", str(bundle), "--data", str(tmp_path), "--out", str(tmp_path / "report"), "--threads", "1"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = {row["organ"]: row for row in read_csv(tmp_path / "report" / "cases.csv")}
    assert rows.keys() == case.status.keys()
    for organ in organs:
        if organ.name in rows:
            assert float(rows[organ.name]["dice"]) == 1.0
            assert float(rows[organ.name]["volume_ml"]) == pytest.approx(organ.volume_ml, rel=1e-3)
    assert np.array_equal(case.ct.array, ct.array)


def test_cases_that_an_earlier_version_cut_are_told(data_set: Path) -> None:
    cases = listed(data_set)
    assert cut_by_import(cases) == ""
    for one in cases:
        del one.entry["as_received"]
    assert cut_by_import(cases).startswith("1 of 1 cases were cut to the body by an earlier version's import")
