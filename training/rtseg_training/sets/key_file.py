"""The private key file of a department: the salt of its patients' digests, and which case is whose.

It lies beside the data sets and never in one: who passes a set on passes on no patient. All sets that were imported
with one key can be compared. With another key the same patient has another digest.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtseg_training.errors import CaseError
from rtseg_training.sets.patients import Person
from rtseg_training.sets.source import Source

NAME = "patients.key"

Rows = dict[str, dict[str, Any]]
"""By case: who it is of, and where it came from."""


@dataclass
class KeyFile:
    """A key in memory.

    Args:
        salt: secret of this department.
        sets: by data set, its cases.
    """

    path: Path
    salt: bytes
    sets: dict[str, Rows] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What tells this key from another one, and tells nothing of the salt."""
        return hmac.new(self.salt, b"which key", hashlib.sha256).hexdigest()[:12]

    def digest(self, patient_id: str) -> str:
        """A patient's digest, empty for one who is unknown."""
        if not patient_id:
            return ""
        return "pt_" + hmac.new(self.salt, b"patient " + patient_id.encode(), hashlib.sha256).hexdigest()[:16]

    def persons(self) -> list[tuple[str, Person]]:
        """Everyone that the key knows, by case, the first imported first."""
        rows = [(case, row) for cases in self.sets.values() for case, row in cases.items()]
        return [(case, Person(row["patient_id"], row.get("name", ""), row.get("birth_date", ""))) for case, row in rows]

    def record(self, data_set: str, source: Source) -> None:
        """Note who a case is of, its series, its files."""
        folders = sorted({str(path.parent) for path in source.files})
        self.sets.setdefault(data_set, {})[source.name] = {
            "patient": self.digest(source.patient), "patient_id": source.person.patient_id,
            "name": source.person.name, "birth_date": source.person.birth_date,
            "series_instance_uid": source.series_uid, "folders": folders,
            "structure_sets": [str(path) for path in source.contours],
        }  # fmt: skip

    def save(self) -> None:
        """Write it whole or not at all, for its owner alone. Raises CaseError on a full disk."""
        partial = self.path.with_name(self.path.name + ".partial")
        document = {"format": 1, "salt": self.salt.hex(), "sets": self.sets}
        try:
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise CaseError(
                f"key file {self.path} cannot be written ({error.strerror}); make room, or give another place by --key"
            ) from error


def open_key(path: Path) -> KeyFile:
    """The key at `path`, or a new one with a salt of its own.

    Raises CaseError if it is damaged, or if others may read it.
    """
    if not path.exists():
        return KeyFile(path, secrets.token_bytes(32))
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise CaseError(
                f"key file {path} tells which case is whose, and others may read it (mode {mode:o}): chmod 600 {path}"
            )
        document = json.loads(path.read_text())
        return KeyFile(path, bytes.fromhex(document["salt"]), dict(document["sets"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaseError(
            f"key file {path} is damaged or is none; bring back its copy: with a new key, patients of new sets cannot "
            "be told from those of old ones"
        ) from error
