"""The installed bundles, as `models list --json` and the dashboard's REST twin show them."""

from pathlib import Path
from typing import Any

from rtseg_daemon.bundles import Bundle, bundle_names, load_bundle
from rtseg_daemon.errors import BundleError
from rtseg_daemon.versions import versions_of


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


def installed_bundles(folder: Path) -> list[dict[str, Any]]:
    """All of them, each in the version that serves. One that is altered or unreadable is there with its error."""
    shapes: list[dict[str, Any]] = []
    for name in bundle_names(folder):
        try:
            shapes.append(brief(load_bundle(folder, name)) | {"error": None})
        except BundleError as error:
            shapes.append({"name": name, "error": str(error)})
        shapes[-1]["versions"] = list(versions_of(folder, name))
    return shapes
