"""The department's private key file: the salt of its patients' digests, and which exported case is whose.

`rtseg-train import --key` keeps the same file, so that a patient has one digest in everything the department learns
from. It lies beside the data sets and never in one: who passes a set on passes on no patient. All sets that were made
with one key can be compared. With another key the same patient has another digest.
"""

import hashlib
import hmac
import json
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtseg_daemon.errors import StorageError
from rtseg_daemon.storage import write_durably

NAME = "patients.key"


@dataclass
class PatientKey:
    """A key in memory. `sets`: by data set, its cases and who they are of."""

    path: Path
    salt: bytes
    sets: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What tells this key from another one, and tells nothing of the salt."""
        return hmac.new(self.salt, b"which key", hashlib.sha256).hexdigest()[:12]

    def digest(self, patient_id: str) -> str:
        """A patient's digest, empty for one who is unknown."""
        if not patient_id:
            return ""
        return "pt_" + hmac.new(self.salt, b"patient " + patient_id.encode(), hashlib.sha256).hexdigest()[:16]

    def secret(self, purpose: str, text: str) -> int:
        """A number that only the key's owner can find again: of a shift of dates, or a new identifier."""
        found = hmac.new(self.salt, f"{purpose} {text}".encode(), hashlib.sha256).digest()
        return int.from_bytes(found[:16], "big")

    def record(
        self, data_set: Path, case: str, patient_id: str, series_uid: str, structure_sets: Sequence[str], *,
        name: str = "", birth_date: str = "", folders: Sequence[str] = (), patient: str = "",
    ) -> None:  # fmt: skip
        """Note who a case is of, its series, its files. `patient` stands for the patient where another ID does."""
        self.sets.setdefault(str(data_set.resolve()), {})[case] = {
            "patient": self.digest(patient or patient_id), "patient_id": patient_id, "name": name,
            "birth_date": birth_date, "series_instance_uid": series_uid, "folders": list(folders),
            "structure_sets": list(structure_sets),
        }  # fmt: skip

    def forget(self, data_set: Path, case: str) -> None:
        self.sets.get(str(data_set.resolve()), {}).pop(case, None)

    def save(self) -> None:
        """Write it whole or not at all, for its owner alone. Raises StorageError where that is not possible."""
        document = {"format": 1, "salt": self.salt.hex(), "sets": self.sets}
        try:
            write_durably(self.path, json.dumps(document, indent=1).encode(), mode=0o600)
        except OSError as error:
            raise StorageError(
                f"key file {self.path} cannot be written ({error.strerror}); make room, or give another place by --key"
            ) from error


def open_key(path: Path) -> PatientKey:
    """The key at `path`, or a new one with its own salt. Raises StorageError if it is damaged or open to others."""
    if not path.exists():
        return PatientKey(path, secrets.token_bytes(32))
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise StorageError(
                f"key file {path} tells which case is whose, and others may read it (mode {mode:o}): chmod 600 {path}"
            )
        document = json.loads(path.read_text())
        return PatientKey(path, bytes.fromhex(document["salt"]), dict(document["sets"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"key file {path} is damaged or is none; bring back its copy: with a new key, patients of new sets cannot "
            "be told from those of old ones"
        ) from error
