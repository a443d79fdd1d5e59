"""Which version of a bundle serves is decided here: verified first, then switched in one step, then told in events.

No daemon need run. The switch is the replacement of `active.json`, and the ledger hears of it afterwards: whoever comes
first, the command itself or the daemon, enters the steps that the ledger does not know yet.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from rtseg_daemon.bundles import Bundle, read_bundle
from rtseg_daemon.errors import BundleError
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.schema import Event
from rtseg_daemon.versions import (
    Active,
    Serving,
    Step,
    bundle_names,
    deciding,
    read_active,
    version_folder,
    version_in,
    write_active,
)

SUBJECT = "bundle"
Check = Callable[[Bundle], str]
"""Looks at a bundle that is to serve. Returns what was found, raises BundleError where it may not serve."""


def activate(models: Path, name: str, version: str, *, who: str, why: str, check: Check) -> Step:
    """Let a version serve from now on. What served before stays where it is.

    Raises BundleError, and leaves everything as it was, if the version is not there or damaged, serves already, or
    fails `check`.
    """
    known(models, name)
    with deciding(models, name):
        active = read_active(models, name)
        bundle = verified(models, name, version)
        now = serving_now(models, name, active)
        if now is not None and (now.version, now.digest) == (bundle.version, bundle.digest):
            raise BundleError(f"{name} {version} serves already")
        found = check(bundle)
        folder = "." if bundle.folder == models / name else bundle.folder.name
        then = Serving(version=bundle.version, folder=folder, digest=bundle.digest)
        before = [now] if now is not None and not active.serving else active.serving
        step = step_after(active, "activated", now, then, who, why, found)
        write_active(models, name, Active(serving=[*before, then], steps=[*active.steps, step]))
    return step


def roll_back(models: Path, name: str, *, who: str, why: str, wait: bool = True) -> Step:
    """Let the version serve again that did before the present one. It is verified, but its golden cases are not run.

    Raises BundleError, and leaves everything as it was, where none did, or that one is damaged or gone; without `wait`
    also while another decision about the bundle is under way, such as an activation with its golden cases.
    """
    known(models, name)
    with deciding(models, name, wait=wait):
        active = read_active(models, name)
        if len(active.serving) < 2:
            raise BundleError(f"no version of {name} served before the present one; activate one by its version")
        now, then = active.serving[-1], active.serving[-2]
        bundle = verified(models, name, then.version)
        if bundle.digest != then.digest:
            raise BundleError(
                f"{bundle.folder} was altered since it served (its digest differs); install {name} {then.version} "
                "again, or activate another version"
            )
        step = step_after(active, "rolled back", now, then, who, why, "not run again")
        write_active(models, name, Active(serving=active.serving[:-1], steps=[*active.steps, step]))
    return step


def known(models: Path, name: str) -> None:
    """Raise BundleError where there is no bundle of this name. No path is made of a name that is none."""
    names = bundle_names(models)
    if name not in names:
        raise BundleError(f"no bundle {name!r} in {models} (there: {', '.join(names) or 'none'})")


def verified(models: Path, name: str, version: str) -> Bundle:
    """A version, every file of it compared with its digest. Raises BundleError."""
    bundle = read_bundle(version_folder(models, name, version), {name})
    if bundle.version != version:
        raise BundleError(f"{bundle.folder} holds version {bundle.version}; name the folder as its bundle.yaml says")
    return bundle


def serving_now(models: Path, name: str, active: Active) -> Serving | None:
    """What serves: the last that was activated, else the bundle in the bundle's own folder, as long as it is whole."""
    if active.serving:
        return active.serving[-1]
    folder = models / name
    if not version_in(folder):
        return None
    try:
        own = read_bundle(folder, {name})
    except BundleError:
        return None  # it serves nobody, and nobody can go back to it
    return Serving(version=own.version, folder=".", digest=own.digest)


def step_after(
    active: Active, what: str, before: Serving | None, after: Serving, who: str, why: str, golden: str
) -> Step:
    """The record of a decision."""
    return Step.model_validate(
        {
            "number": active.steps[-1].number + 1 if active.steps else 1,
            "at": time.time(),
            "what": what,
            "before": before.version if before else None,
            "after": after.version,
            "digest": after.digest,
            "who": who,
            "why": why,
            "golden": golden,
        }
    )


def step_shape(name: str, noted: bool, step: Step) -> dict[str, Any]:
    """A decision as `models activate --json` and `models rollback --json` show it. `noted`: the ledger knows of it."""
    return {"bundle": name, "noted": noted} | step.model_dump(mode="json")


def tell(engine: Engine, models: Path) -> list[tuple[str, Step]]:
    """Enter every step that the ledger does not know yet as an event. Returns (bundle, step) of each."""
    with reading(engine) as session:
        unknown = any(untold(session, models))
    if not unknown:
        return []
    with writing(engine) as session:
        new = list(untold(session, models))  # somebody else may have told them meanwhile
        for name, step in new:
            record_event(session, SUBJECT, None, step.what, detail=detail_of(name, step), who=step.who, at=step.at)
    return new


def untold(session: Session, models: Path) -> Iterator[tuple[str, Step]]:
    """(bundle, step) of what the ledger has no event of. A damaged record tells nothing: its jobs fail and say so."""
    told = {
        (event.detail.get("bundle"), event.detail.get("number"), event.detail.get("digest"))
        for event in session.scalars(select(Event).where(Event.subject == SUBJECT))
    }
    for name in bundle_names(models):
        with contextlib.suppress(BundleError):
            for step in read_active(models, name).steps:
                if (name, step.number, step.digest) not in told:
                    yield name, step


def detail_of(name: str, step: Step) -> dict[str, object]:
    """What an event says of a step."""
    return {"bundle": name} | step.model_dump(include={"number", "before", "after", "digest", "why", "golden"})
