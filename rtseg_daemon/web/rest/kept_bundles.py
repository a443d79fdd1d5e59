"""The installed bundles, verified anew only where a file of theirs has changed: digests of all weights take seconds."""

from functools import lru_cache
from pathlib import Path

from rtseg_daemon.upkeep.installed import installed_bundles
from rtseg_daemon.web.rest.asked import Shapes

Mark = tuple[tuple[str, int, int], ...]


def bundles_now(models: Path) -> Shapes:
    """As `models list --json`."""
    return [dict(shape) for shape in verified(models, mark_of(models))]


@lru_cache(maxsize=2)
def verified(models: Path, _mark: Mark) -> Shapes:
    """The mark makes a changed folder a new question."""
    return installed_bundles(models)


def mark_of(models: Path) -> Mark:
    """Name, size and time of every file: what changes when one is replaced."""
    found = [(str(path.relative_to(models)), path.stat()) for path in models.rglob("*") if path.is_file()]
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in found))
