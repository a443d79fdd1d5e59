"""What the reading process makes of files: a CT as the pipeline reads it, and words for everything else."""

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.errors import NotShown
from rtseg_daemon.segment.entropy_map import save_entropy_map
from rtseg_daemon.web.viewer import reader
from tests.structure_sets import Case
from tests.synthetic import ORIENTATIONS, sample_volume, write_series

ENOUGH = 2**30


def asked(paths: list[Path], target: Path, limit: int = ENOUGH) -> dict[str, Any]:
    files = [[str(path), hashlib.sha256(path.read_bytes()).hexdigest()] for path in paths]
    return {"files": files, "target": str(target), "limit": limit}


@pytest.mark.parametrize("position", ORIENTATIONS)
def test_a_ct_lies_in_the_patients_axes_however_it_was_stored(tmp_path: Path, position: str) -> None:
    volume = sample_volume()
    said = reader.volume(asked(write_series(tmp_path / "ct", volume, position, shuffle=True), tmp_path / "target"))
    assert tuple(said["shape"]) == volume.shape
    np.testing.assert_allclose(said["origin_mm"], volume.origin_mm, atol=1e-6)
    found = np.fromfile(tmp_path / "target", "<i2").reshape(volume.shape)
    np.testing.assert_array_equal(found, volume.array)


def test_values_that_are_no_whole_hu_are_rounded(tmp_path: Path) -> None:
    def change(_: int, dataset: Dataset) -> None:
        dataset.RescaleSlope = "0.5"

    volume = sample_volume()
    reader.volume(asked(write_series(tmp_path / "ct", volume, change=change), tmp_path / "target"))
    found = np.fromfile(tmp_path / "target", "<i2").reshape(volume.shape)
    np.testing.assert_array_equal(found, np.rint((volume.array.astype(float) + 1024) * 0.5 - 1024))


@pytest.mark.parametrize(("damage", "word"), [("missing", "is missing"), ("altered", "was altered")])
def test_a_missing_or_altered_image_is_told_with_what_doctor_says(tmp_path: Path, damage: str, word: str) -> None:
    paths = write_series(tmp_path / "ct", sample_volume())
    question = asked(paths, tmp_path / "target")
    if damage == "missing":
        paths[2].unlink()
    else:
        paths[2].write_bytes(paths[2].read_bytes()[:-8] + b"\1" * 8)
    with pytest.raises(NotShown, match=word) as raised:
        reader.volume(question)
    assert raised.value.status == 409
    assert "doctor" in str(raised.value)


def test_a_series_that_lacks_a_slice_is_no_volume(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct", sample_volume((9, 24, 32)))
    with pytest.raises(NotShown, match="no volume") as raised:
        reader.volume(asked(paths[:4] + paths[5:], tmp_path / "target"))
    assert raised.value.status == 422


def test_a_ct_larger_than_the_bound_is_not_unpacked(tmp_path: Path) -> None:
    volume = sample_volume()
    with pytest.raises(NotShown, match="at most") as raised:
        reader.volume(asked(write_series(tmp_path / "ct", volume), tmp_path / "target", 2 * volume.array.size - 1))
    assert raised.value.status == 413
    assert not (tmp_path / "target").exists()


def test_a_disk_without_room_is_told_and_is_no_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(NotShown, match="no room") as raised:
        reader.volume(asked(write_series(tmp_path / "ct", sample_volume()), tmp_path / "target"))
    assert raised.value.status == 507


def test_an_altered_structure_set_is_not_drawn(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.write()
    question = {"path": str(case.path), "sha256": "0" * 64, "entropy": [], "target": str(tmp_path / "target")}
    with pytest.raises(NotShown, match="was altered") as raised:
        reader.structures(question)
    assert raised.value.status == 409
    assert not (tmp_path / "target").exists()


def test_an_entropy_map_goes_out_as_it_was_stored(tmp_path: Path) -> None:
    entropy = Volume(np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4), (3.0, 2.0, 2.0), (1.0, 2.0, 3.0))
    save_entropy_map(entropy, tmp_path / "entropy.npz")
    said = reader.entropy({"path": str(tmp_path / "entropy.npz"), "target": str(tmp_path / "target")})
    assert tuple(said["shape"]) == (2, 3, 4)
    steps = np.frombuffer(gzip.decompress((tmp_path / "target").read_bytes()), np.uint8).reshape(2, 3, 4)
    np.testing.assert_allclose(steps * said["step_nats"], entropy.array, atol=said["step_nats"])


def test_a_broken_entropy_map_is_told(tmp_path: Path) -> None:
    (tmp_path / "entropy.npz").write_bytes(b"PK nothing")
    with pytest.raises(NotShown, match="missing or broken"):
        reader.entropy({"path": str(tmp_path / "entropy.npz"), "target": str(tmp_path / "target")})


def test_the_program_answers_every_line_and_nonsense_too(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct", sample_volume())
    lines = [b"{", b'{"do": "nothing"}', json.dumps({"do": "volume"} | asked(paths, tmp_path / "target")).encode()]
    done = subprocess.run(
        [sys.executable, "-m", "rtseg_daemon.web.viewer.reader"],
        input=b"\n".join(lines) + b"\n",
        capture_output=True,
        timeout=120,
        check=True,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said[0] == {"ready": True}
    assert ["refused" in one for one in said[1:]] == [True, True, False]
    assert said[3]["shape"] == [6, 24, 32]
