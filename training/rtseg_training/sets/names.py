"""What a department calls an organ becomes its TG-263 name, by a table that the department can edit."""

import itertools
import unicodedata
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from rtseg_training.errors import CaseError

LEFT = frozenset(("l", "lt", "left", "li", "links", "sin", "g", "gauche"))
RIGHT = frozenset(("r", "rt", "right", "re", "rechts", "dex", "dx", "d", "droite"))

TWO_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "œ": "oe", "æ": "ae", "ø": "oe"})
MARKS = range(0x300, 0x370)
"""Accents and umlauts over letters of European scripts; marks of other scripts make other letters."""


def words_of(name: str) -> list[str]:
    """A name's words in small letters, split at signs, spaces and capitals inside a word; letters of every script."""
    spaced = ""
    for before, one in itertools.pairwise(" " + unicodedata.normalize("NFKC", name)):
        spaced += " " if before.islower() and one.isupper() else ""
        spaced += one if one.isalnum() or unicodedata.category(one).startswith("M") else " "
    return spaced.lower().split()


def key_of(name: str) -> tuple[str, str]:
    """A name without its side, joined, and the side: `_L`, `_R` or nothing (also where both sides are named)."""
    words = words_of(name)
    sides = {"_L" for word in words if word in LEFT} | {"_R" for word in words if word in RIGHT}
    rest = [word for word in words if word not in LEFT and word not in RIGHT]
    return "".join(rest), sides.pop() if len(sides) == 1 else ""


def spellings(key: str) -> list[str]:
    """A key as it stands in the table: umlauts as two letters (rueckenmark), and all marks left out (ruckenmark)."""
    bare = "".join(one for one in unicodedata.normalize("NFKD", key) if ord(one) not in MARKS)
    both = [key, unicodedata.normalize("NFKC", bare)]
    return list(dict.fromkeys(one.translate(TWO_LETTERS) for one in both))


@dataclass(frozen=True)
class NameTable:
    """Synonym to TG-263 base name, for organs that lie on the midline and for those that come in pairs."""

    single: dict[str, str]
    sided: dict[str, str]

    def lookup(self, name: str) -> str | None:
        """The TG-263 name, or None if the table does not know it or a paired organ's name does not tell the side."""
        key, side = key_of(name)
        for spelling in spellings(key) if key else []:
            if side and spelling in self.sided:
                return self.sided[spelling] + side
            if not side and spelling in self.single:
                return self.single[spelling]
        return None


def load_names(path: Path | None = None) -> NameTable:
    """The table at `path`, or the one that came with the package; raises CaseError naming what is wrong in it."""
    shipped = resources.files("rtseg_training.sets") / "synonyms.yaml"
    where = str(path or "synonyms.yaml")
    try:
        document = yaml.safe_load((path or shipped).read_text(encoding="utf-8"))
        parts = {part: document.get(part) for part in ("single", "sided")}
    except (OSError, yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise CaseError(
            f"{where} is no table of names in UTF-8 ({error}); copy the shipped synonyms.yaml and edit it"
        ) from error
    tables = {part: inverted(table or {}, part, where) for part, table in parts.items()}
    return NameTable(tables["single"], tables["sided"])


def inverted(table: Any, part: str, where: str) -> dict[str, str]:
    """Synonym to name; raises CaseError for what is no list of names, and if one synonym stands for two organs."""
    if not isinstance(table, dict):
        raise CaseError(f"{where}: {part}: organs with lists of names are expected, as in the shipped synonyms.yaml")
    out: dict[str, str] = {}
    for organ, synonyms in table.items():
        if not isinstance(synonyms, list):
            raise CaseError(f"{where}: {organ}: a list of names is expected, such as [a, b], and not {synonyms!r}")
        keys = [key for one in (organ, *synonyms) for key in keys_in(one, organ, where)]
        for key in sorted(set(keys)):
            if out.setdefault(key, organ) != organ:
                raise CaseError(f"{where}: {key!r} stands for {out[key]} and for {organ}")
    return out


def keys_in(synonym: Any, organ: Any, where: str) -> list[str]:
    """The keys of one entry; raises CaseError for one that is no text or would stand for every name."""
    if not isinstance(synonym, str):
        raise CaseError(f"{where}: {organ}: {synonym} is no text; put it in quotes")
    key = key_of(synonym)[0]
    if not key:
        raise CaseError(
            f"{where}: {organ}: {synonym!r} has no letters of its own, signs and words for a side do not count; "
            "take it out of the table"
        )
    return spellings(key)
