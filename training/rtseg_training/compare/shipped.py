"""Whether logs are of the recipes that ship: figures of others would be read as theirs."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rtseg_training.errors import RecipeError
from rtseg_training.learn.account import PLAN, as_now, first_difference, plan_of
from rtseg_training.learn.recipe import Recipe, load_recipe

MEASURED = ("small", "boxes")
"""Arguments of FocusNet that `train` measures on its cases: a recipe that ships does not have them."""


def recipes_in(folder: Path) -> dict[str, Recipe]:
    """The recipes of a folder, by name. Raises RecipeError for one that is none."""
    return {recipe.name: recipe for recipe in map(load_recipe, sorted(folder.glob("*.yaml")))}


def runs_below(folder: Path) -> list[Path]:
    """The runs that have a log in a folder of runs."""
    return sorted(log.parent for log in folder.glob("*/log.csv"))


def refuse_others(runs: Iterable[Path], recipes: Mapping[str, Recipe]) -> None:
    """Raise RecipeError naming the first run that another recipe made than the one of `recipes`, and in which key."""
    for run in runs:
        check_run(run, recipes)


def check_run(run: Path, recipes: Mapping[str, Recipe]) -> None:
    """The same for one run."""
    try:
        told = json.loads((run / PLAN).read_text())
        name, member, start, known = told["recipe"], told["member"], told["start"], told["plan"]
    except FileNotFoundError:
        raise RecipeError(f"{run} does not say by which recipe it was made ({PLAN}); train it anew") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{run / PLAN} is damaged ({error}); take it from the run's own folder") from error
    if name not in recipes:
        raise RecipeError(f"{run} was made by recipe {name}, which is none of those that ship; --recipes names others")
    one = recipes[name].member(member)
    plan = plan_of(recipes[name].for_member(one))
    known = as_now(without_measured(known, plan), plan)
    if (key := first_difference(known, plan)) is not None:
        raise RecipeError(
            f"{run} was made with {key}: {json.dumps(known.get(key))}, recipe {name} that ships says "
            f"{json.dumps(plan.get(key))}; train it anew, or leave it out"
        )
    if start != one.start:
        raise RecipeError(
            f"{run} began with {start or 'its seed'}, recipe {name} that ships says {one.start or 'its seed'}"
        )


def without_measured(known: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """A run's plan without what was measured, where `plan` has not measured it."""
    arguments = {k: v for k, v in known["arguments"].items() if k not in MEASURED or k in plan["arguments"]}
    return {**known, "arguments": arguments}
