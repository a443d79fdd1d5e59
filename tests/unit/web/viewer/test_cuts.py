"""Slices in the three planes, compared with numpy on the whole volume."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtseg_daemon.web.viewer import cuts
from rtseg_daemon.web.viewer.cuts import Geometry, Plane, read_array, read_cuts

SHAPE = (7, 5, 6)
VOLUME = np.random.default_rng(1).integers(-1024, 3071, SHAPE).astype("<i2")
GEOMETRY = Geometry(SHAPE, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(3.0 * k for k in range(7)))


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """The volume in a file, open."""
    path = tmp_path / "volume"
    path.write_bytes(VOLUME.tobytes())
    found = os.open(path, os.O_RDONLY)
    yield found
    os.close(found)


def looked_at(plane: Plane) -> np.ndarray:
    """All slices of a plane as one looks at them: axial from below, the others with the head up."""
    head_up = VOLUME[::-1]
    return {"axial": VOLUME, "coronal": head_up.transpose(1, 0, 2), "sagittal": head_up.transpose(2, 0, 1)}[plane]


@pytest.mark.parametrize("plane", cuts.PLANES)
@pytest.mark.parametrize("piece", [2 * 5 * 6, 3 * 2 * 5 * 6, 4 * 2**20])
def test_slices_of_each_plane_are_those_of_the_volume(
    descriptor: int, plane: Plane, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever pieces the file is read in, and however many slices are asked for."""
    monkeypatch.setattr(cuts, "PIECE_BYTES", piece)
    expected = looked_at(plane)
    assert GEOMETRY.count(plane) == len(expected)
    assert GEOMETRY.picture(plane) == expected.shape[1:]
    for first, count in ((0, 1), (2, 3), (0, len(expected))):
        found = read_cuts(descriptor, GEOMETRY, plane, first, count)
        np.testing.assert_array_equal(found, expected[first : first + count])
        assert found.dtype == np.dtype("<i2")


def test_a_file_that_became_shorter_is_an_error_and_no_slice(tmp_path: Path) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"\0" * 10)
    descriptor = os.open(path, os.O_RDONLY)
    with pytest.raises(OSError, match="shorter"):
        read_array(descriptor, 4, (4,))
    os.close(descriptor)


def test_geometry_is_what_the_reader_said() -> None:
    said = {"shape": [2, 3, 4], "spacing_mm": [3, 1, 2], "origin_mm": [-5, 0, 1], "z_mm": [-5, -2]}
    geometry = Geometry.said(said)
    assert geometry.bytes == 48
    assert geometry.z_mm == (-5, -2)
