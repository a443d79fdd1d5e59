"""The grid of a CT as JSON: the same from the volume and from the headers alone, in every orientation."""

import json
from pathlib import Path

import pytest

from rtseg_daemon.ct.geometry import Geometry, geometry_of, geometry_of_files
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.errors import SeriesError
from tests.synthetic import ORIENTATIONS, sample_volume, uid, write_series


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_volume_and_headers_give_the_same_geometry_and_json_keeps_it(tmp_path: Path, position: str) -> None:
    paths = write_series(tmp_path, sample_volume(), position, shuffle=True)
    series = load_series(paths)
    geometry = geometry_of(series)
    assert geometry_of_files(paths) == geometry
    assert Geometry.of_document(json.loads(json.dumps(geometry.document()))) == geometry
    assert geometry.grid.shape == series.volume.shape
    assert geometry.sop_instance_uids == tuple(one.sop_instance_uid for one in series.instances)
    assert geometry.scanner == "Phantom works Synthetic"
    assert geometry.frame_uid == uid("frame", 0)
    assert geometry.volume().array.nbytes == series.volume.array.size  # one byte each by name, none in memory
    assert geometry.volume().array.strides == (0, 0, 0)


def test_files_that_make_no_volume_have_no_geometry(tmp_path: Path) -> None:
    paths = write_series(tmp_path, sample_volume())
    with pytest.raises(SeriesError):
        geometry_of_files(paths[:1])
