"""A finished bundle takes its place: golden cases first, weights before bundle.yaml, the card beside it."""

import shutil
from pathlib import Path

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_training import golden
from rtseg_training.card import model_card
from rtseg_training.evaluate import open_bundle
from rtseg_training.export import write_bundle


def current(folder: Path) -> Bundle | None:
    """The bundle that stands in `folder` now, if any."""
    return open_bundle(folder) if (folder / "bundle.yaml").is_file() else None


def promote(staged: Bundle, segmenter: Segmenter, target: Path, new_golden: bool = False) -> Bundle:
    """Put the bundle staged in another folder of the same name into `target`; returns it as read back.

    Its golden cases are measured and recorded. Raises ExportError, and leaves `target` alone, if it is worse there
    than the bundle that stands in `target` (`new_golden`: begin a new record instead).
    """
    old = None if new_golden else current(target)
    if old is not None and old.golden:
        golden.check(segmenter, old)
    measured = golden.measure_all(segmenter)
    finished = write_bundle(staged.model_copy(update={"golden": measured}), staged.folder)
    target.mkdir(parents=True, exist_ok=True)
    for member in finished.members:
        if finished.member_path(member) != target / member.file:
            shutil.copyfile(finished.member_path(member), target / member.file)
    if finished.folder != target:
        shutil.copyfile(finished.folder / "bundle.yaml", target / "bundle.yaml.partial")
        (target / "bundle.yaml.partial").replace(target / "bundle.yaml")
    (target / "MODEL_CARD.md").write_text(model_card(finished))
    kept = {member.file for member in finished.members}
    for path in target.glob("*.safetensors"):
        if path.name not in kept:
            path.unlink()
    return open_bundle(target)
