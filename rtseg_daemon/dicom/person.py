"""Whose a DICOM object is, as digests: enough to tell two patients apart, and no patient data in what keeps them."""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset

from rtseg_daemon.dicom.files import same_text

DIGITS = 16
"""Hex digits of a digest that are kept: two of one patient's words do not meet by chance."""


@dataclass(frozen=True)
class Person:
    """A patient as digests, which compare with those of the same `salt` alone. Empty where the object does not say.

    Args:
        identifier: of PatientID as all its spellings compare.
        names: of the words of PatientName without case, accents and marks.
        born: of PatientBirthDate.
    """

    identifier: str
    names: frozenset[str]
    born: str

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"identifier": self.identifier, "names": sorted(self.names), "born": self.born}

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> "Person":
        return cls(document["identifier"], frozenset(document["names"]), document["born"])


def person_of(dataset: Dataset, salt: str) -> Person:
    """Whose the data set is."""
    identifier, name, born = (same_text(dataset, key) for key in ("PatientID", "PatientName", "PatientBirthDate"))
    return Person(digest(salt, identifier), frozenset(digest(salt, word) for word in words(name)), digest(salt, born))


def digest(salt: str, text: str) -> str:
    """Empty for an empty text."""
    return hashlib.sha256(f"{salt}\n{text}".encode()).hexdigest()[:DIGITS] if text else ""


def words(name: str) -> set[str]:
    """The words of a person's name. Bytes that break their character set are one word."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    return set(re.findall(r"[^\W_]+", plain.casefold()))
