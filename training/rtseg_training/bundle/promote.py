"""A finished bundle takes its place: golden cases first, weights before bundle.yaml, the card beside it."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtseg_daemon.bundles import Bundle, Golden, Minimum, load_bundle
from rtseg_daemon.errors import BundleError
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_daemon.versions import ACTIVE
from rtseg_training.bundle import golden
from rtseg_training.bundle.card import model_card
from rtseg_training.bundle.export import write_bundle
from rtseg_training.bundle.minimum import require
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


@dataclass(frozen=True)
class Demands:
    """What a bundle must show before it takes its place.

    Args:
        new_golden: begin a new record of golden cases.
        patients: golden cases of patients, without figures yet.
        golden_folder: where files of such cases lie.
        minimum: figures on validation cases.
    """

    new_golden: bool = False
    patients: Sequence[Golden] = ()
    golden_folder: Path | None = None
    minimum: Minimum | None = None


def versioned(target: Path, version: str) -> bool:
    """Whether `target` is the folder of a version, `NAME/VERSION`, and not that of the bundle."""
    return target.name == version


def name_for(target: Path, version: str) -> str:
    """The name of the bundle that is to stand in `target`."""
    return target.parent.name if versioned(target, version) else target.name


def refuse_change(target: Path, version: str) -> None:
    """Raise ExportError where a version stands already, or where versions serve and none is named.

    A version never changes once it is there.
    """
    if (target / ACTIVE).exists():
        raise ExportError(f"{target} has versions, one of which serves; give --out {target}/{version}")
    if versioned(target, version) and (target / "bundle.yaml").is_file():
        raise ExportError(f"{target} is there already, and a version never changes; give another --version and --out")


def before(target: Path, version: str) -> Bundle | None:
    """The bundle that the new one would take the place of: what stands there, or the version that serves."""
    if not versioned(target, version):
        return current(target)
    models, name = target.parent.parent, target.parent.name
    try:
        return load_bundle(models, name)
    except BundleError:
        return None  # the first version of this bundle


def promote(staged: Bundle, segmenter: Segmenter, target: Path, demands: Demands = Demands()) -> Bundle:
    """Put the bundle staged in another folder of the same name into `target`. Returns it as read back.

    Its golden cases are measured, and the best figures so far recorded. Raises ExportError, and leaves `target` alone,
    if it falls short of what is demanded, or is worse on a golden case than the bundle that stands in `target` or
    serves, or where none does than its own record was.
    """
    refuse_change(target, staged.version)
    staged = require(staged, demands.minimum)
    old = None if demands.new_golden else before(target, staged.version) or staged
    recorded = old.golden if old else []
    if recorded:
        golden.refuse_worse(
            staged.name, recorded, [golden.measure(segmenter, g, demands.golden_folder) for g in recorded]
        )
    patients = [g for g in recorded if g.file is not None]
    patients += [g for g in demands.patients if g.key not in {one.key for one in patients}]
    fresh = golden.measure_all(segmenter)
    fresh += [golden.measure(segmenter, g, demands.golden_folder) for g in patients]
    measured = golden.best_of(recorded, fresh)
    if not staged.research and not any(g.dice for g in measured):
        raise ExportError(
            f"bundle {staged.name}: no phantom holds one of its organs; give held-out cases as golden ones with "
            "--golden SET --golden-folder FOLDER"
        )
    finished = write_bundle(staged.model_copy(update={"golden": measured}), staged.folder)
    (finished.folder / "MODEL_CARD.md").write_text(model_card(finished))
    if finished.folder != target:
        put([*(member.file for member in finished.members), "MODEL_CARD.md", "bundle.yaml"], finished.folder, target)
    kept = {member.file for member in finished.members}
    for path in target.glob("*.safetensors"):
        if path.name not in kept:
            path.unlink()
    return open_bundle(target)
