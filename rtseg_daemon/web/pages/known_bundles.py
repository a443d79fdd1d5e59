"""The installed bundles as pages show them: read and verified once, and again when a file of theirs has changed."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rtseg_daemon.bundles import Bundle, bundle_names, digests, load_bundle
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.values import JOINER, without_version
from rtseg_daemon.errors import BundleError
from rtseg_daemon.versions import Step, read_active, versions_of

CARD = "MODEL_CARD.md"
LONGEST_CARD = 200_000
Mark = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class KnownBundle:
    """A bundle in the version that serves, or why none does.

    Args:
        routes: those that use it: it is active there.
        versions: all that are installed.
        steps: who activated what, the newest first.
    """

    name: str
    bundle: Bundle | None
    error: str
    routes: tuple[str, ...]
    versions: tuple[str, ...]
    steps: tuple[Step, ...]


def known_bundles(models: Path, config: Config) -> list[KnownBundle]:
    """All that are installed, by name."""
    return [known_bundle(models, name, config) for name in bundle_names(models)]


def known_bundle(models: Path, name: str, config: Config) -> KnownBundle:
    """One of them, verified."""
    bundle, error, versions, steps = verified(models, name, mark_of(models / name))
    return KnownBundle(name, bundle, error, routes_with(config, name), versions, steps)


Verified = tuple[Bundle | None, str, tuple[str, ...], tuple[Step, ...]]


@lru_cache(maxsize=32)
def verified(models: Path, name: str, _mark: Mark) -> Verified:
    """The bundle or what is wrong with it, and its versions. The mark makes a changed one a new question."""
    versions = tuple(versions_of(models, name))
    try:
        bundle = load_bundle(models, name)
        return bundle, "", versions, tuple(reversed(read_active(models, name).steps))
    except (BundleError, OSError) as error:
        return None, str(error), versions, ()


@lru_cache(maxsize=4)
def known_digests(models: Path, _mark: Mark) -> dict[str, str]:
    return digests(models)


def versions_by_digest(models: Path) -> dict[str, str]:
    """Digest -> version of all that is installed."""
    return known_digests(models, mark_of(models))


def mark_of(folder: Path) -> Mark:
    """Name, size and time of every file: what changes when one is replaced."""
    found = [(str(path.relative_to(folder)), path.stat()) for path in folder.rglob("*") if path.is_file()]
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in found))


def routes_with(config: Config, name: str) -> tuple[str, ...]:
    """The routes that name the bundle, alone or with others."""
    found = [route for route in config.routes if any(name in without_version(job).split(JOINER) for job in route.jobs)]
    return tuple(route.name for route in found)


def card_of(bundle: Bundle) -> str:
    """The text of its card, empty where there is none."""
    try:
        return (bundle.folder / CARD).read_text(errors="replace")[:LONGEST_CARD]
    except OSError:
        return ""
