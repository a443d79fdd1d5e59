"""A bundle takes its place whole, or what stood there still stands."""

import shutil
from pathlib import Path

import pytest
from rtseg_training.bundle import golden
from rtseg_training.bundle.export import write_bundle
from rtseg_training.bundle.promote import Demands, name_for, promote, put, refuse_change
from rtseg_training.errors import ExportError
from rtseg_training.measure.evaluate import open_bundle

from rtseg_daemon.bundles import Bundle, Golden, Minimum, load_bundle
from rtseg_daemon.errors import BundleError
from rtseg_daemon.upkeep.activation import activate
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
    assert promote(staged, None, target, Demands(new_golden=True)).golden == [figures(0.5)]  # type: ignore[arg-type]


def ready(folder: Path, version: str, dice: float, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle that reaches so much on its only golden case."""
    figures = Golden(seed=101, matrix=256, dice={"Brainstem": dice})
    monkeypatch.setattr(golden, "measure_all", lambda *_: [figures])
    monkeypatch.setattr(golden, "measure", lambda *_: figures)
    return open_bundle(make_bundle(folder, version=version))


def test_a_version_takes_its_own_folder_and_never_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / "models"
    first = ready(tmp_path / "one", "1.0", 0.8, monkeypatch)
    target = models / "tiny" / "1.0"
    assert name_for(target, "1.0") == "tiny"
    assert promote(first, None, target).folder == target  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="no version of bundle tiny is active"):
        load_bundle(models, "tiny")
    activate(models, "tiny", "1.0", who="me", why="first", check=lambda _: "passed")
    before = (target / "bundle.yaml").read_bytes()
    with pytest.raises(ExportError, match=r"1\.0 is there already, and a version never changes"):
        promote(first, None, target)  # type: ignore[arg-type]
    assert (target / "bundle.yaml").read_bytes() == before
    with pytest.raises(ExportError, match=r"tiny has versions, one of which serves; give --out .*/tiny/2\.0"):
        refuse_change(models / "tiny", "2.0")
    worse = ready(tmp_path / "two", "2.0", 0.6, monkeypatch)
    with pytest.raises(ExportError, match=r"Brainstem falls from Dice 0\.800 to 0\.600"):
        promote(worse, None, models / "tiny" / "2.0")  # type: ignore[arg-type]
    better = ready(tmp_path / "three", "3.0", 0.9, monkeypatch)
    assert promote(better, None, models / "tiny" / "3.0").golden[0].dice == {"Brainstem": 0.9}  # type: ignore[arg-type]
    assert load_bundle(models, "tiny").version == "1.0"


def test_a_bundle_that_falls_short_of_what_was_asked_does_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = ready(tmp_path / "staged", "1.0", 0.8, monkeypatch)
    least = Minimum(dice={"Brainstem": 0.7}, auroc=0, caught=0)
    with pytest.raises(ExportError, match=r"Dice of Brainstem could not be measured, at least 0\.7 is asked"):
        promote(staged, None, tmp_path / "tiny" / "1.0", Demands(minimum=least))  # type: ignore[arg-type]
    assert not (tmp_path / "tiny").exists()
    figured = staged.model_copy(update={"figures": {"Brainstem": {"dice": 0.75}}})
    monkeypatch.setattr("rtseg_training.bundle.promote.model_card", lambda _: "card")
    done = promote(figured, None, tmp_path / "tiny" / "1.0", Demands(minimum=least))  # type: ignore[arg-type]
    assert done.minimum == least


def test_a_bundle_of_organs_that_no_phantom_has_needs_golden_cases_of_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Golden(seed=101, matrix=256, dice={})
    patient = Golden(file="golden-1.npz", sha256="0" * 64, dice={})
    asked: list[Path | None] = []

    def measure(_segmenter: object, case: Golden, folder: Path | None = None) -> Golden:
        asked.append(folder)
        return case.model_copy(update={"dice": {"GTVp": 0.7} if case.file else {}})

    monkeypatch.setattr(golden, "measure_all", lambda *_: [nothing])
    monkeypatch.setattr(golden, "measure", measure)
    staged = open_bundle(make_bundle(tmp_path / "staged"))
    target = tmp_path / "models" / "tiny"
    with pytest.raises(ExportError, match=r"no phantom holds one of its organs; give held-out cases .* --golden SET"):
        promote(staged, None, target)  # type: ignore[arg-type]
    demands = Demands(patients=[patient], golden_folder=tmp_path)
    done = promote(staged, None, target, demands)  # type: ignore[arg-type]
    assert [case.dice for case in done.golden] == [{}, {"GTVp": 0.7}]
    assert asked == [tmp_path]
    again = promote(staged, None, target, Demands(golden_folder=tmp_path))  # type: ignore[arg-type]
    assert [case.file for case in again.golden] == [None, "golden-1.npz"], "the record goes on"
    assert "| golden-1.npz | 0.700 |" in (target / "MODEL_CARD.md").read_text()
