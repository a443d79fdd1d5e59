"""What a checkpoint says of itself, and whether a run may go on from it: the same recipe, start and cases."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rtseg_training.errors import CheckpointError
from rtseg_training.learn.recipe import Member, Recipe

MEASURING = {"members", "validate_every", "validate_cases", "limits", "largest_component"}
"""Keys of a recipe that change no weight."""


def plan_of(recipe: Recipe) -> dict[str, Any]:
    """All that decides about the weights of a member but its start and cases: its own recipe and seed, as JSON."""
    plan: dict[str, Any] = json.loads(recipe.model_dump_json(exclude=MEASURING))
    return plan | {"seed": recipe.members[0].seed}


PLAN = "plan.json"
"""Beside a run's log: what decided about its weights."""


def write_plan(folder: Path, recipe: Recipe, member: Member) -> None:
    """Say beside a run's log by which plan it was made, and from which member it began. `recipe` is the member's own.

    What cannot be written is lost without a word, as of the log: the checkpoint has it too.
    """
    told = {"recipe": recipe.name, "member": member.name, "start": member.start, "plan": plan_of(recipe)}
    with suppress(OSError):
        (folder / PLAN).write_text(json.dumps(told, indent=1) + "\n")


def as_now(known: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan of an earlier version, with the keys that it did not know: they had then what is their default now."""
    return {key: Recipe.model_fields[key].default for key in plan.keys() - known.keys()} | dict(known)


def first_difference(known: Mapping[str, Any], plan: Mapping[str, Any]) -> str | None:
    """The first key in which two plans differ, or None where they are the same."""
    return next((key for key in sorted(plan.keys() | known.keys()) if plan.get(key) != known.get(key)), None)


def cases_of(names: Iterable[str]) -> str:
    """A digest of which cases a run learns from, by their names."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def start_digest(start: Path | None) -> str:
    """A digest of the weights that a run begins with, empty where it begins with its seed or the file is gone."""
    return hashlib.sha256(start.read_bytes()).hexdigest() if start is not None and start.is_file() else ""


def check_owner(path: Path, meta: Mapping[str, Any], recipe: str, member: str) -> None:
    """Raise CheckpointError for another recipe's or member's checkpoint."""
    if (meta.get("recipe"), meta.get("member")) != (recipe, member):
        raise CheckpointError(f"{path} belongs to {meta.get('recipe')}/{meta.get('member')}, not to {recipe}/{member}")


def check_plan(path: Path, meta: Mapping[str, Any], recipe: Recipe) -> None:
    """Raise CheckpointError naming the first key in which the recipe of these weights was another.

    A checkpoint of an earlier version does not say what its recipe was: its name must do.
    """
    plan, known = plan_of(recipe), meta.get("plan")
    if known is None:
        return
    known = as_now(known, plan)
    if (key := first_difference(known, plan)) is not None:
        raise CheckpointError(
            f"{path} was trained with {key}: {json.dumps(known.get(key))}, the recipe says "
            f"{json.dumps(plan.get(key))}; give the member another name, or train into another folder"
        )


def check_same(
    path: Path, meta: Mapping[str, Any], key: str, now: str, what: str, then: str = "train into another folder"
) -> None:
    """Raise CheckpointError, with what to do `then`, where a digest of `key` is known on both sides and differs."""
    known = meta.get(key, "")
    if known and now and known != now:
        raise CheckpointError(f"{path} was trained {what}; {then}")


def check_finished(path: Path, meta: Mapping[str, Any], recipe: Recipe) -> None:
    """Raise CheckpointError for a member that stopped before its last step."""
    if int(meta["step"]) < recipe.steps:
        raise CheckpointError(f"{path} stands at step {meta['step']} of {recipe.steps}; train it to its end first")
