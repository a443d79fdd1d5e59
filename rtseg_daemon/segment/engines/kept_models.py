"""Compiled models and kernels on the disk, with digests: an altered one is made again and contours nobody."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtseg_daemon.logs import log

LIST = "digests.json"
KINDS = (".xml", ".bin", ".blob")
"""Converted members (two files each), and what the library keeps of their compilation."""
KERNELS = "kernels"
LOCK = "lock"


def files_in(cache: Path) -> list[Path]:
    """The files of the folder `cache` that are compiled: models in it, and all of a folder of kernels."""
    if cache.name.startswith(KERNELS):
        return sorted(path for path in cache.rglob("*") if path.is_file() and path.name not in (LIST, LOCK))
    return sorted(path for path in cache.iterdir() if path.suffix in KINDS)


def digests_of(cache: Path) -> dict[str, str]:
    """SHA-256 of every compiled file in the folder `cache`, by its name there."""
    return {str(path.relative_to(cache)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files_in(cache)}


def drop_altered(cache: Path) -> None:
    """Remove every compiled file that the list does not know, or knows by another digest: its writer was killed, or the
    disk failed. Raises OSError where that is not possible: such a cache cannot be used."""
    try:
        known = json.loads((cache / LIST).read_text())
    except (OSError, ValueError):
        known = {}
    for name, digest in digests_of(cache).items():
        if not isinstance(known, dict) or known.get(name) != digest:
            (cache / name).unlink(missing_ok=True)


def note_digests(cache: Path) -> None:
    """List the model files as they stand. A list that cannot be written costs the next start their making."""
    partial = cache / f"{LIST}.{os.getpid()}.partial"
    try:
        partial.write_text(json.dumps(digests_of(cache), indent=1))
        partial.replace(cache / LIST)
    except OSError:
        partial.unlink(missing_ok=True)


@contextmanager
def kept_kernels(cache: Path | None) -> Iterator[None]:
    """While a card's engine starts: its kernels are read from a folder under `cache`, or compiled and left there.

    One process at a time, since another one's half-written kernel would be taken for an altered one.
    """
    folder = cache / KERNELS if cache else None
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = None
    if folder is None:
        yield
        return
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        drop_altered(folder)
        if not digests_of(folder):
            log().info("compiling the card's kernels; later starts read them", folder=KERNELS)
        os.environ["TRITON_CACHE_DIR"] = str(folder)
        yield
        note_digests(folder)
