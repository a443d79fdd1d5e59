"""The installed bundles, as `models list --json`, `models show --json` and the dashboard's REST twin show them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rtseg_daemon.bundles import Bundle, bundle_names, load_bundle
from rtseg_daemon.errors import BundleError
from rtseg_daemon.versions import read_active, versions_of


def brief(bundle: Bundle) -> dict[str, Any]:
    """One bundle in short."""
    return {
        "name": bundle.name,
        "version": bundle.version,
        "digest": bundle.digest,
        "intended_use": bundle.intended_use,
        "description": bundle.description,
        "organs": [organ.name for organ in bundle.classes],
        "members": len(bundle.members),
    }


def in_list(name: str, bundle: Bundle | None, error: str, versions: Iterable[str]) -> dict[str, Any]:
    """One of the list: a bundle in short, or its name alone and what is wrong with it."""
    shape = {"name": name, "error": error} if bundle is None else brief(bundle) | {"error": None}
    return shape | {"versions": list(versions)}


def installed_bundles(folder: Path) -> list[dict[str, Any]]:
    """All of them, each in the version that serves. One that is altered or unreadable is there with its error."""
    shapes: list[dict[str, Any]] = []
    for name in bundle_names(folder):
        bundle, error = None, ""
        try:
            bundle = load_bundle(folder, name)
        except BundleError as fault:
            error = str(fault)
        shapes.append(in_list(name, bundle, error, versions_of(folder, name)))
    return shapes


def in_full(folder: Path, bundle: Bundle) -> dict[str, Any]:
    """One bundle with its limits, figures, versions, and who activated them. Raises BundleError."""
    active = read_active(folder, bundle.name)
    return brief(bundle) | {
        "versions": list(versions_of(folder, bundle.name)),
        "limits": bundle.limits.model_dump(mode="json"),
        "provenance": bundle.provenance,
        "figures": bundle.figures,
        "activations": [step.model_dump(mode="json") for step in active.steps],
    }
