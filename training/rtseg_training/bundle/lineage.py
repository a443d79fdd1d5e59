"""The checkpoints that a bundle's members go back to, and that none of them learned a case that is held out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rtseg_training.errors import CheckpointError
from rtseg_training.learn.account import cases_of
from rtseg_training.learn.checkpoint import read_meta
from rtseg_training.learn.recipe import Recipe
from rtseg_training.sets.manifest import Entry, keys_of


def ancestry(runs: Path, recipe: Recipe, members: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the checkpoints of `members`, and of all whose weights these began with, say of themselves, by member.

    Of a checkpoint that is not in `runs` nothing is known: no steps, no seconds.
    """
    chain: dict[str, dict[str, Any]] = {}
    for name in members:
        current: str | None = name
        while current is not None and current not in chain:
            path = runs / current / "checkpoint.safetensors"
            chain[current] = read_meta(path) if path.is_file() else {"step": 0, "seconds": 0.0}
            current = recipe.member(current).start
    return chain


def training_of(chain: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What an ancestry took: its runs, and their steps and seconds together."""
    return {
        "runs": list(chain),
        "steps": sum(int(meta["step"]) for meta in chain.values()),
        "training_seconds": round(sum(float(meta["seconds"]) for meta in chain.values()), 1),
    }


def keys_learned(meta: Mapping[str, Any]) -> set[object]:
    """By what the cases that a checkpoint learned are known in another data set, empty where it does not list them."""
    known = [dict(zip(("name", "sha256", "patient"), one, strict=False)) for one in meta.get("learned", [])]
    return set().union(*(keys_of(entry) for entry in known))


def refuse_learned(
    chain: Mapping[str, Mapping[str, Any]], runs: Path, cases: Sequence[str], held_out: Sequence[Entry]
) -> None:
    """Raise CheckpointError naming a case of `held_out` that a member, or one that it began with, has learned.

    Also for a checkpoint of an earlier version, which does not list what it learned, where that was not `cases`. One
    that knows nothing of its cases passes.
    """
    for name, meta in chain.items():
        path, known = runs / name / "checkpoint.safetensors", keys_learned(meta)
        for entry in held_out:
            if keys_of(entry) & known:
                raise CheckpointError(
                    f"{path} has learned case {entry['name']}, or another one of its patient, which is to be held out; "
                    "give a validation set without it, or train without it"
                )
        if held_out and not meta.get("learned") and meta.get("cases") not in (None, "", cases_of(cases)):
            raise CheckpointError(
                f"{path} has learned other cases than those of the training set and does not list them: some may be "
                "held out now; train it anew, or export without a validation set"
            )
