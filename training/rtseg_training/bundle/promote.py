"""A finished bundle takes its place: golden cases first, weights before bundle.yaml, the card beside it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_training.bundle import golden
from rtseg_training.bundle.card import model_card
from rtseg_training.bundle.export import write_bundle
from rtseg_training.errors import ExportError
from rtseg_training.measure.evaluate import open_bundle


def current(folder: Path) -> Bundle | None:
    """The bundle that stands in `folder` now, if any."""
    return open_bundle(folder) if (folder / "bundle.yaml").is_file() else None


def put(files: Sequence[str], source: Path, target: Path) -> None:
    """Copy `files` beside those of the same names, and only when all are there rename them, in this order.

    Raises ExportError, the old files untouched, if the copies cannot be written.
    """
    target.mkdir(parents=True, exist_ok=True)
    partial = {name: target / f"{name}.partial" for name in files}
    try:
        for name, path in partial.items():
            shutil.copyfile(source / name, path)
    except OSError as error:
        for path in partial.values():
            path.unlink(missing_ok=True)
        raise ExportError(
            f"{target}: the bundle cannot be copied there ({error}); what stood there still stands"
        ) from error
    for name, path in partial.items():
        path.replace(target / name)


def promote(staged: Bundle, segmenter: Segmenter, target: Path, new_golden: bool = False) -> Bundle:
    """Put the bundle staged in another folder of the same name into `target`. Returns it as read back.

    Its golden cases are measured, and the best figures so far recorded. Raises ExportError, and leaves `target` alone,
    if it is worse there than the bundle that stands in `target`, or where none does than its own record was
    (`new_golden`: begin a new record instead).
    """
    old = None if new_golden else current(target) or staged
    if old is not None and old.golden:
        golden.measure_against(segmenter, old)
    measured = golden.best_of(old.golden if old else [], golden.measure_all(segmenter))
    finished = write_bundle(staged.model_copy(update={"golden": measured}), staged.folder)
    (finished.folder / "MODEL_CARD.md").write_text(model_card(finished))
    if finished.folder != target:
        put([*(member.file for member in finished.members), "MODEL_CARD.md", "bundle.yaml"], finished.folder, target)
    kept = {member.file for member in finished.members}
    for path in target.glob("*.safetensors"):
        if path.name not in kept:
            path.unlink()
    return open_bundle(target)
