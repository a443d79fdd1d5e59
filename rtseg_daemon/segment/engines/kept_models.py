"""Compiled models on the disk, with digests: one that was altered there is made again and contours nobody."""

import hashlib
import json
import os
from pathlib import Path

LIST = "digests.json"
KINDS = (".xml", ".bin", ".blob")
"""Converted members (two files each), and what the library keeps of their compilation."""


def digests_of(cache: Path) -> dict[str, str]:
    """SHA-256 of every model file in the folder `cache`, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(cache.iterdir())
        if path.suffix in KINDS
    }


def drop_altered(cache: Path) -> None:
    """Remove every model file that the list does not know, or knows by another digest: its writer was killed, or the
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
