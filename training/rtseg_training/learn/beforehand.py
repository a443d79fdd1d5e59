"""What a training could fail by, looked at before anything is written: the runs that are there, and the cases."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rtseg_training.errors import CheckpointError, RecipeError
from rtseg_training.learn.account import cases_of, check_owner, check_plan, check_same
from rtseg_training.learn.checkpoint import read_meta
from rtseg_training.learn.prepared import TrainingCase
from rtseg_training.learn.recipe import Member, Recipe

CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"


def check_cases(recipe: Recipe, cases: Sequence[TrainingCase]) -> None:
    """Raise RecipeError where there is no case, or none that has one of the recipe's classes."""
    if not cases:
        raise RecipeError(f"recipe {recipe.name}: there is no case to learn from; look at --data and `exclude:`")
    missing = dict.fromkeys(range(1, len(recipe.classes) + 1))
    for case in cases:
        for k in list(missing):
            if case.annotated[k] and case.counts[k]:
                del missing[k]
        if not missing:
            return
    names = ", ".join(recipe.classes[k - 1] for k in missing)
    raise RecipeError(
        f"recipe {recipe.name}: no case has {names}; it was written for another data set: leave these classes out, or "
        "import cases with them (import.md lists names that were not mapped)"
    )


def check_runs(recipe: Recipe, out: Path, cases: Sequence[TrainingCase], starts: Mapping[str, Path]) -> None:
    """Raise CheckpointError for a checkpoint in `out` that is damaged, of another recipe or of other cases.

    All members are looked at, not only those to be trained now: `recipe.yaml` beside the runs speaks of all of them.
    """
    now = cases_of(case.name for case in cases)
    for member in recipe.members:
        path = out / member.name / CHECKPOINT
        if not path.exists():
            continue
        meta = read_meta(path)
        check_owner(path, meta, recipe.name, member.name)
        check_plan(path, meta, recipe.for_member(member))
        check_same(path, meta, "cases", now, "on other cases than those given now")
    for name, path in starts.items():
        if not path.is_file():
            raise CheckpointError(f"{path} is missing; member {name} cannot start from it")


def check_order(recipe: Recipe, chosen: Sequence[Member], out: Path) -> None:
    """Raise RecipeError for a member whose start is neither trained nor comes before it."""
    there = {member.name for member in recipe.members if (out / member.name / CHECKPOINT).is_file()}
    for member in chosen:
        if member.start is not None and member.start not in there:
            raise RecipeError(
                f"recipe {recipe.name}, member {member.name}: it starts from {member.start}, which is not trained yet "
                f"in {out}; train that first, or put it before in the recipe"
            )
        there.add(member.name)
