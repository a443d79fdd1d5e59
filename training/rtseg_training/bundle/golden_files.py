"""Golden cases of patients: held-out cases of a data set, de-identified, in a folder outside every repository."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtseg_daemon.bundles import Golden
from rtseg_training.errors import ExportError
from rtseg_training.sets.cases import Case
from rtseg_training.sets.joined import Listed


def keep_golden(cases: Sequence[Listed], organs: Sequence[str], folder: Path) -> list[Golden]:
    """Write one file for each case that has one of the bundle's organs drawn. No figure is recorded yet.

    A file holds the image, cut to the body, and the masks. It has no name, number, date or place, and is called by a
    digest of what is in it. A face can be seen in a CT all the same: the folder is for this user alone. Raises
    ExportError for a folder in a repository, a full disk, and cases without an organ of the bundle.
    """
    refuse_repository(folder)
    out = [keep(one.independent(), organs, folder) for one in cases if drawn_of(one, organs)]
    if not out:
        raise ExportError(f"no golden case has an organ of this bundle drawn ({', '.join(organs)})")
    return out


def refuse_repository(folder: Path) -> None:
    """Raise ExportError for a folder that would be committed one day."""
    place = folder.resolve()
    for parent in (place, *place.parents):
        if (parent / ".git").exists():
            raise ExportError(
                f"{folder} lies in the repository {parent}: images of patients belong in none; name a folder outside "
                "with --golden-folder"
            )


def drawn_of(one: Listed, organs: Sequence[str]) -> list[str]:
    """The organs of the bundle that are drawn in a case."""
    status = one.entry["status"]
    assert isinstance(status, dict)
    untouched = one.entry.get("untouched", [])
    assert isinstance(untouched, list)
    return [organ for organ in organs if status.get(organ) == "drawn" and organ not in untouched]


def keep(case: Case, organs: Sequence[str], folder: Path) -> Golden:
    """Write one case. Raises ExportError on a full disk."""
    names = [organ for organ in organs if case.status.get(organ) == "drawn"]
    bits = np.zeros(case.ct.shape, np.uint64)
    for k, organ in enumerate(names):
        bits |= case.mask(organ).astype(np.uint64) << np.uint64(k)
    partial = folder / f"golden-{os.getpid()}.partial"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            # the place of the table is the scanner's, and nothing here needs it
            np.savez_compressed(
                file, ct=case.ct.array, bits=bits, organs=np.asarray(names), spacing_mm=case.ct.spacing_mm,
                origin_mm=(0.0, 0.0, 0.0),
            )  # fmt: skip
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
        path = folder / f"golden-{digest[:16]}.npz"
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ExportError(f"{folder}: golden case cannot be written ({error.strerror}); free disk space") from error
    return Golden(file=path.name, sha256=digest, dice={})
