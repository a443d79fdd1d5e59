"""`rtseg-train plan`: a recipe for a data set, from what is in it."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg_training.cli.console import console, counted
from rtseg_training.errors import RecipeError
from rtseg_training.learn.plan import planned, recipe_text
from rtseg_training.learn.recipe import load_recipe
from rtseg_training.sets.joined import listed
from rtseg_training.sets.reach import counts_of, looked_at


def plan_command(
    data: Annotated[list[Path], typer.Argument(help="Training data sets (rtseg-train import).")],
    out: Annotated[Path, typer.Option(help="The recipe, e.g. recipes/ours.yaml; its name is the recipe's.")],
    memory: Annotated[float, typer.Option(min=1, help="Memory of the card, or of the machine, in GiB.")] = 24.0,
) -> None:
    """Write a recipe for these data sets, each number with its reason as a comment.

    Example: rtseg-train plan sets/train --out recipes/ours.yaml --memory 24
    """
    if out.exists():
        raise RecipeError(f"{out} is there already, and a recipe is not overwritten; name another file")
    cases = listed(*data)
    with counted("cases", len(cases)) as tick:
        looked = []
        for one in cases:
            looked.append(looked_at(one.load()))
            tick(one.name)
    plan = planned(looked, counts_of([one.entry for one in cases]), int(memory * 2**30))
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_text(recipe_text(plan, out.stem))
    load_recipe(partial)
    partial.replace(out)
    console.print(f"{out}: {len(plan.classes)} organs, width {plan.width}, patches of {plan.patch}", highlight=False)
