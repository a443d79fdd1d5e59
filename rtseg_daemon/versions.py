"""Versions of a bundle side by side, `NAME/VERSION/`, and the small file `NAME/active.json` that says which one serves.

A bundle may also lie in `NAME/` itself, as those do that come with the package. It serves until a version is activated.
`active.json` is replaced whole, so that at any moment the old version serves or the new one. It is also the record of
who activated what and why.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from rtseg_daemon.config.values import VERSION_MARK, without_version
from rtseg_daemon.errors import BundleError
from rtseg_daemon.storage import write_durably

BUNDLE, ACTIVE = "bundle.yaml", "active.json"
FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What may be the folder of a version."""


class Record(BaseModel):
    """Data that never changes, of a file in which a key that nobody knows is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Serving(Record):
    """A version that serves or has served. `folder` is inside the bundle's, `.` for the bundle's own."""

    version: str
    folder: str
    digest: str


class Step(Record):
    """One decision about which version serves. `number` counts from 1. `at` in seconds since 1970."""

    number: int
    at: float
    what: Literal["activated", "rolled back"]
    before: str | None
    after: str
    digest: str
    who: str
    why: str
    golden: str
    """What the golden cases said then."""


class Active(Record):
    """`active.json`: the versions that served one after the other, the last of them now, and every decision."""

    format: Literal[1] = 1
    serving: list[Serving] = []
    steps: list[Step] = []


@dataclass(frozen=True)
class Place:
    """Where a bundle lies, and what it must be there. Empty: whatever it is."""

    folder: Path
    version: str = ""
    digest: str = ""


def bundle_names(models: Path) -> list[str]:
    """Names of the bundles in `models`, sorted, whether or not a version of them is active."""
    own, versioned = models.glob(f"*/{BUNDLE}"), models.glob(f"*/*/{BUNDLE}")
    names = {path.parent.name for path in own} | {
        path.parent.parent.name for path in versioned if FOLDER_NAME.fullmatch(path.parent.name)
    }
    return sorted(name for name in names if not name.startswith("."))


def versions_of(models: Path, name: str) -> dict[str, Path]:
    """Version -> folder, of all that are installed of a bundle, the one in the bundle's own folder among them."""
    folder = models / name
    own = version_in(folder)
    found = {own: folder} if own else {}
    inside = [path.parent for path in folder.glob(f"*/{BUNDLE}") if FOLDER_NAME.fullmatch(path.parent.name)]
    return found | {path.name: path for path in sorted(inside)}


def version_in(folder: Path) -> str:
    """What the `bundle.yaml` of this folder says, empty where there is none that can be read."""
    try:
        document = yaml.safe_load((folder / BUNDLE).read_bytes())
    except (OSError, yaml.YAMLError):
        return ""
    return str(document.get("version", "")) if isinstance(document, dict) else ""


def read_active(models: Path, name: str) -> Active:
    """Which versions serve and have served. Empty where none was ever activated. Raises BundleError for damage."""
    path = models / name / ACTIVE
    try:
        return Active.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Active()
    except (OSError, ValueError, ValidationError) as error:
        raise BundleError(f"{path} is damaged; move it away, then activate a version of {name} again") from error


def write_active(models: Path, name: str, active: Active) -> None:
    """Replace `active.json`, whole or not at all. Raises BundleError, the old one kept, where it cannot be written."""
    path = models / name / ACTIVE
    text: dict[str, Any] = active.model_dump(mode="json")
    try:
        write_durably(path, json.dumps(text, indent=1, ensure_ascii=False).encode() + b"\n", mode=0o644)
    except OSError as error:
        raise BundleError(
            f"{path} cannot be written ({error.strerror}); the version that served still serves. Bundles that came "
            "with the package may lie where nobody writes: copy them and set models.directory"
        ) from error


@contextmanager
def deciding(models: Path, name: str, *, wait: bool = True) -> Iterator[None]:
    """One decision about a bundle at a time: whoever comes second waits, or without `wait` gets a BundleError."""
    descriptor = os.open(models / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise BundleError(f"somebody decides about {name} at this moment; look again in some minutes") from error
        yield
    finally:
        os.close(descriptor)


def place_of(models: Path, name: str) -> Place:
    """Where the bundle `name` lies that serves now, or `NAME@VERSION`. Raises BundleError where there is none."""
    name, _, version = name.partition(VERSION_MARK)
    if name not in bundle_names(models):
        known = ", ".join(bundle_names(models)) or "none"
        raise BundleError(f"no bundle {name!r} in {models} (there: {known}); install it or name another in the route")
    if version:
        return Place(version_folder(models, name, version), version)
    serving = read_active(models, name).serving
    if serving:
        now = serving[-1]
        return Place(models / name / now.folder, now.version, now.digest)
    if (models / name / BUNDLE).is_file():
        return Place(models / name)
    raise BundleError(
        f"no version of bundle {name} is active (there: {', '.join(versions_of(models, name))}); activate one with "
        f"`rtseg-daemon models activate {name} VERSION --why TEXT`"
    )


def version_folder(models: Path, name: str, version: str) -> Path:
    """The folder of a version. Raises BundleError with those that are there."""
    found = versions_of(models, name)
    if version not in found:
        raise BundleError(f"bundle {name} has no version {version} in {models} (there: {', '.join(found) or 'none'})")
    return found[version]


def stamp(models: Path, name: str) -> tuple[tuple[int, int], ...]:
    """Changes when another version is activated, or the bundle in the folder itself is replaced. Reads no file."""
    folder = models / without_version(name)
    return tuple(
        (status.st_ino, status.st_mtime_ns)
        for file in (ACTIVE, BUNDLE)
        if (status := status_of(folder / file)) is not None
    )


def status_of(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
