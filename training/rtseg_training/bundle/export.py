"""Checkpoints become a bundle: half-precision averaged weights with digests, and everything the daemon must know."""

import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file

from rtseg_daemon.bundles import FORMAT_VERSION, TARGETS, Bundle, Limits, MemberFile, OrganClass
from rtseg_daemon.rtstruct.codes import anatomy_of
from rtseg_daemon.storage import write_durably
from rtseg_training.bundle.known_cases import with_learned
from rtseg_training.bundle.lineage import ancestry, refuse_learned
from rtseg_training.bundle.population import Prior, check_sides, described, volume_prior
from rtseg_training.bundle.scope import facts_of, limits_of
from rtseg_training.errors import CheckpointError, ExportError
from rtseg_training.learn.account import cases_of, check_finished, check_owner, check_plan, check_same
from rtseg_training.learn.beforehand import BEST, CHECKPOINT
from rtseg_training.learn.checkpoint import part, read_checkpoint, read_meta
from rtseg_training.learn.focus import check_measured
from rtseg_training.learn.recipe import Recipe, first_fault
from rtseg_training.measure.evaluate import open_bundle
from rtseg_training.sets.cases import Case
from rtseg_training.sets.manifest import Entry
from rtseg_training.sets.organs import side_of

RANK_WEIGHTS = (5.0, 4.0, 3.0, 1.0, 1.0, 1.0)
"""Ensemble weight of the best, second, ... member of a class (seed 001), with fewer members the first of these."""


def rank_table(family: str) -> tuple[float, ...]:
    """Weights by rank: 3D-SepNet's. The other methods take the plain mean of their members (seed 002, Sec. 3.4)."""
    return RANK_WEIGHTS if family == "sepnet" else (1.0,)


def weights_of(checkpoint: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Averaged weights in half precision, counters as they are, and the checkpoint's own account of itself.

    Raises CheckpointError if a weight does not fit in half precision.
    """
    tensors, meta = read_checkpoint(checkpoint)
    own = part(tensors, "net")
    half = {}
    for key, value in part(tensors, "ema").items():
        counts = key in own and not own[key].is_floating_point()  # batch norm's number of batches
        half[key] = value.to(own[key].dtype) if counts else value.half().contiguous()
        if not bool(half[key].isfinite().all()):
            raise CheckpointError(f"{checkpoint}: {key} is not finite in half precision; train with a lower rate")
    return half, meta


def best_step(checkpoint: Path) -> int | None:
    """The step of the best weights that lie beside a checkpoint, None where its training kept none."""
    best = checkpoint.with_name(BEST)
    return int(read_meta(best)["step"]) if best.is_file() else None


def write_member(
    checkpoint: Path, name: str, recipe: Recipe, folder: Path, cases: Sequence[str] = (), best: bool = False
) -> MemberFile:
    """`<name>.safetensors` in `folder`, and its entry in bundle.yaml.

    With `best` the weights are those that were best on the validation cases, the last ones where none were kept.
    Raises CheckpointError for a checkpoint of another recipe or member, of one that is not finished, or of one that
    learned other cases than `cases` (names, or none for any).
    """
    changed = recipe.for_member(recipe.member(name))
    path = folder / f"{name}.safetensors"
    half, meta = weights_of(checkpoint)
    check_owner(checkpoint, meta, recipe.name, name)
    check_plan(checkpoint, meta, changed)
    check_finished(checkpoint, meta, changed)
    given = cases_of(cases) if cases else ""
    check_same(checkpoint, meta, "cases", given, "on other cases than those of --data", "give the set that it learned")
    if best and best_step(checkpoint) is not None:
        half, kept = weights_of(checkpoint.with_name(BEST))
        check_owner(checkpoint.with_name(BEST), kept, recipe.name, name)
        check_plan(checkpoint.with_name(BEST), kept, changed)
    with room_in(folder):
        save_file(half, str(path))
    return MemberFile(
        name=name,
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        intensity=changed.intensity[0],
        alpha=changed.loss.alpha if changed.loss.name == "ath_l_exp" else None,
        mirror=changed.mirror,
    )


def keeps_largest(recipe: Recipe, organ: str, interpreted_type: str) -> bool:
    """Whether only the largest part counts: as the recipe says, else for all but targets, which may have several."""
    asked = recipe.largest_component
    if isinstance(asked, bool):
        return asked
    return asked.get(organ, interpreted_type not in TARGETS)


def organ_class(organ: str, prior: Prior, members: int, recipe: Recipe) -> OrganClass:
    """The class's entry: codes and colour by its TG-263 name, members weighed equally until they are calibrated."""
    known = anatomy_of(organ)
    return OrganClass(
        name=organ,
        snomed=known.snomed,
        fma=known.fma,
        colour=known.colour,
        interpreted_type=known.interpreted_type,
        weights=[1.0] * members,
        volume_ml=prior.volume_ml,
        side=side_of(organ),
        largest_component=keeps_largest(recipe, organ, known.interpreted_type),
    )


def provenance(chain: Mapping[str, Mapping[str, Any]], recipe_path: Path, cases: int) -> dict[str, str]:
    """Where the weights come from: recipe and its digest, the trainer's commit, cases, steps and hours of training.

    Args:
        chain: the account of each checkpoint that the members go back to, by name (`lineage.ancestry`).
    """
    hours = sum(float(meta["seconds"]) for meta in chain.values()) / 3600
    return {
        "recipe": f"{recipe_path.name} sha256 {hashlib.sha256(recipe_path.read_bytes()).hexdigest()[:16]}",
        "commit": commit_of(Path(__file__).parent),
        "training cases": str(cases),
        "steps": ", ".join(f"{name} {meta['step']}" for name, meta in chain.items()),
        "training hours": f"{hours:.2f}",
    }


def chosen(runs: Path, members: Sequence[str]) -> dict[str, str]:
    """Which members' weights the validation cases chose, and of which step they are."""
    steps = {name: best_step(runs / name / CHECKPOINT) for name in members}
    told = [f"{name} {'last' if step is None else step}" for name, step in steps.items()]
    return {"best on validation": ", ".join(told)}


def commit_of(folder: Path) -> str:
    """The checked-out commit, or `unknown` outside a repository."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    done = subprocess.run([git, "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def write_bundle(bundle: Bundle, folder: Path) -> Bundle:
    """Write `bundle.yaml` whole or not at all and read it back. Raises BundleError if it would be refused."""
    text = yaml.safe_dump(bundle.model_dump(mode="json", exclude_none=True), sort_keys=False, width=110)
    with room_in(folder):
        write_durably(folder / "bundle.yaml", text.encode(), mode=0o644)
    return open_bundle(folder)


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """A disk that is full, or cannot be written, is an ExportError that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ExportError(
            f"{folder}: the bundle cannot be written there ({reason}); what stood at its place still stands. Free disk "
            "space (TMPDIR says where it is made), then export it again"
        ) from error


def common_recipe(recipe: Recipe, members: Sequence[str]) -> Recipe:
    """The recipe as its members have it. Raises ExportError where they are networks or windows that differ."""
    plans = [recipe.for_member(recipe.member(name)) for name in members]
    for name, plan in zip(members, plans, strict=True):
        for key in ("family", "arguments", "patch", "window_step"):
            if getattr(plan, key) != getattr(plans[0], key):
                raise ExportError(f"{name} and {members[0]} differ in {key}; members of a bundle are alike in it")
    return plans[0]


def export(
    runs: Path, recipe: Recipe, recipe_path: Path, members: Sequence[str], cases: Iterable[Case], folder: Path,
    version: str, description: str, intended_use: str, held_out: Sequence[Entry] = (), entries: Sequence[Entry] = (),
    best: bool = False,
) -> Bundle:  # fmt: skip
    """A bundle with equal member weights and no calibration yet, in `folder` (its name is the bundle's).

    Args:
        cases: what the members learned, looked at one after the other.
        held_out: the cases on which it will be calibrated, as their manifest lists them.
        entries: `cases` as their manifest lists them, from which the bundle's limits come.
        best: take each member's weights that were best on the validation cases, not its last ones.

    Raises CheckpointError naming a member without a usable checkpoint, or one that learned other cases or one that is
    held out, ExportError for unusable training data, RecipeError for a recipe without what `train` measured.
    """
    check_measured(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    plan = common_recipe(recipe, members)
    population = [described(case, recipe.classes) for case in cases]
    names = [case.name for case in population]
    check_sides(population, recipe.classes)
    classes = [organ_class(organ, volume_prior(population, organ), len(members), recipe) for organ in recipe.classes]
    files = [write_member(runs / name / CHECKPOINT, name, recipe, folder, names, best) for name in members]
    chain = ancestry(runs, recipe, members)
    refuse_learned(chain, runs, names, held_out)
    kept = {entry.file for entry in files}
    for stale in folder.glob("*.safetensors"):
        if stale.name not in kept:
            stale.unlink()
    document = {
        "format": FORMAT_VERSION,
        "name": folder.name,
        "version": version,
        "intended_use": intended_use,
        "description": description,
        "family": plan.family,
        "arguments": plan.arguments,
        "classes": classes,
        "members": files,
        "spacing_mm": plan.spacing_mm,
        "window": plan.patch,
        "window_step": plan.window_step,
        "extent_mm": plan.extent_mm,
        "in_plane": plan.in_plane,
        "limits": limits_of(entries, recipe.limits) if entries else Limits(),
        "known_limits": recipe.limits.known,
        "provenance": provenance(chain, recipe_path, len(population)) | (chosen(runs, members) if best else {}),
    }
    try:
        bundle = Bundle.model_validate(document)
    except ValidationError as error:
        raise ExportError(f"bundle {folder.name}: {first_fault(error)}") from error
    bundle = with_learned(bundle, entries, chain)
    if entries:
        bundle = bundle.model_copy(update={"provenance": bundle.provenance | facts_of(entries)})
    return write_bundle(bundle, folder)
