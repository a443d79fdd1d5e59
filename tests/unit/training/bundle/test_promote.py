"""A bundle takes its place whole, or what stood there still stands."""

import shutil
from pathlib import Path

import pytest
from rtseg_training.bundle import golden
from rtseg_training.bundle.export import write_bundle
from rtseg_training.bundle.promote import promote, put
from rtseg_training.errors import ExportError
from rtseg_training.measure.evaluate import open_bundle

from rtseg_daemon.bundles import Golden
from tests.tiny import make_bundle


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


def test_a_new_place_is_no_way_round_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def figures(dice: float) -> Golden:
        return Golden(seed=101, matrix=256, dice={"Brainstem": dice})

    monkeypatch.setattr(golden, "measure_all", lambda *_: [figures(0.5)])
    monkeypatch.setattr(golden, "measure", lambda *_: figures(0.5))
    bundle = open_bundle(make_bundle(tmp_path / "staged"))
    staged = write_bundle(bundle.model_copy(update={"golden": [figures(0.8)]}), bundle.folder)
    target = tmp_path / "elsewhere" / "tiny"
    with pytest.raises(ExportError, match=r"Brainstem falls from Dice 0\.800 to 0\.500"):
        promote(staged, None, target)  # type: ignore[arg-type]
    assert not target.exists()
    assert promote(staged, None, target, new_golden=True).golden == [figures(0.5)]  # type: ignore[arg-type]
