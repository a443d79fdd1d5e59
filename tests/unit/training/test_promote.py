"""A bundle takes its place whole, or what stood there still stands."""

import shutil
from pathlib import Path

import pytest
from rtseg_training.errors import ExportError
from rtseg_training.promote import put


def test_files_are_copied_first_and_take_their_names_together(tmp_path: Path) -> None:
    source, target = tmp_path / "new", tmp_path / "live"
    for folder, text in ((source, "new"), (target, "old")):
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).write_text(text)
    put(["a", "b"], source, target)
    assert [(target / name).read_text() for name in ("a", "b")] == ["new", "new"]
    assert sorted(path.name for path in target.iterdir()) == ["a", "b"]


def test_a_full_disk_leaves_what_stood_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "new", tmp_path / "live"
    for folder, text in ((source, "new"), (target, "old")):
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).write_text(text)
    copy = shutil.copyfile

    def full(one: Path, other: Path) -> None:
        if one.name == "b":
            raise OSError(28, "No space left on device")
        copy(one, other)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ExportError, match="what stood there still stands"):
        put(["a", "b"], source, target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"a": "old", "b": "old"}
