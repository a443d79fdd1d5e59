"""New cases for an existing bundle: its members train on from their own weights. Old and new are then compared."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.sides import one_sided
from rtseg_daemon.bundles import Bundle
from rtseg_training.bundle.export import write_bundle, write_member
from rtseg_training.bundle.known_cases import with_learned
from rtseg_training.bundle.promote import name_for, refuse_change
from rtseg_training.errors import ExportError
from rtseg_training.learn.recipe import Augment, Loss, Member, Optimizer, Recipe, save_recipe
from rtseg_training.measure.evaluate import Evaluation
from rtseg_training.measure.tables import organs_in
from rtseg_training.sets.manifest import Entry


def recipe_of(bundle: Bundle, steps: int, lr: float) -> Recipe:
    """The recipe that goes on where a bundle stands: its network, grid, window and members, `steps` more each.

    Raises ExportError for a bundle whose members did not learn by ATH-L_Exp: it does not say by what they did.
    """
    other = [member.name for member in bundle.members if member.alpha is None]
    if other:
        raise ExportError(
            f"bundle {bundle.name}: member {other[0]} did not learn by ATH-L_Exp, the only loss that a refresh knows; "
            "train its recipe on with new members that `start` from the old ones"
        )
    members = [
        Member.model_validate(
            {
                "name": m.name,
                "seed": 1000 + k,
                "intensity": [m.intensity],
                "mirror": m.mirror,
                "loss": {"alpha": m.alpha},
            }
        )
        for k, m in enumerate(bundle.members)
    ]
    names = [organ.name for organ in bundle.classes]
    return Recipe(
        name=f"{bundle.name}-refresh",
        family=bundle.family,
        arguments=bundle.arguments,
        classes=names,
        spacing_mm=bundle.spacing_mm,
        patch=bundle.window,
        window_step=bundle.window_step,
        in_plane=bundle.in_plane,
        extent_mm=bundle.extent_mm,
        intensity=[bundle.members[0].intensity],
        loss=Loss(name="ath_l_exp"),
        augment=Augment(flip=0.0 if one_sided(names) else 0.5),
        optimizer=Optimizer(lr=lr),
        steps=steps,
        members=members,
    )


def starts_of(bundle: Bundle) -> dict[str, Path]:
    """Whose weights each member starts from."""
    return {member.name: bundle.member_path(member) for member in bundle.members}


def refreshed(
    old: Bundle, recipe: Recipe, runs: Path, folder: Path, version: str, entries: Sequence[Entry]
) -> Bundle:  # fmt: skip
    """The bundle of the members trained on, in `folder`: weights and priors as before, calibration left out.

    `entries`: what was learned on, as the manifest lists it. What the old members' uncertainty meant does not hold for
    the new ones: calibrate again before use. Raises ExportError if `folder` holds the old bundle or has another name
    than the bundle.
    """
    if folder == old.folder.resolve() or name_for(folder, version) != old.name:
        raise ExportError(
            f"{folder}: give a folder of its own, {old.name} or {old.name}/{version}; the old bundle stays"
        )
    refuse_change(folder, version)
    folder.mkdir(parents=True, exist_ok=True)
    files = [write_member(runs / m.name / "checkpoint.safetensors", m.name, recipe, folder) for m in old.members]
    blank = {"calibration": None, "review_below": None, "reject_below": None}
    changes = {
        "version": version,
        "members": files,
        "classes": [organ.model_copy(update=blank) for organ in old.classes],
        "figures": {},
        "provenance": old.provenance
        | {"refreshed from": f"{old.version} ({old.digest[:16]}) with {len(entries)} cases"},
    }
    save_recipe(recipe, runs / "recipe.yaml")
    return write_bundle(with_learned(old.model_copy(update=changes), entries), folder)


def paired(old: Evaluation, new: Evaluation, organ: str) -> np.ndarray:
    """Dice of new minus old on the cases that both measured."""
    before = {str(r["case"]): float(r["dice"]) for r in old.rows if r["organ"] == organ}
    after = {str(r["case"]): float(r["dice"]) for r in new.rows if r["organ"] == organ}
    return np.asarray([after[case] - before[case] for case in before if case in after])


def comparison(old: Evaluation, new: Evaluation, names: Sequence[str] = ("old", "new")) -> str:
    """Markdown: per organ the mean Dice of both on the same held-out cases, the mean change and how many got worse."""
    lines = [
        f"| organ | cases | {names[0]} | {names[1]} | change | worse by 0.05 or more |",
        "|---|---|---|---|---|---|",
    ]
    for organ in organs_in(old.rows):
        change = paired(old, new, organ)
        if change.size == 0:
            continue
        lines.append(
            f"| {organ} | {change.size} | {old.of(organ, 'dice').mean():.3f} | {new.of(organ, 'dice').mean():.3f} "
            f"| {change.mean():+.3f} | {int((change <= -0.05).sum())} |"
        )
    return "\n".join(lines) + "\n"
