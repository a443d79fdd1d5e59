"""What people call organs: words for sides and synonyms in several languages, and the TG-263 name that is meant."""

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import resources
from typing import Any

import yaml

from rtseg_daemon.anatomy.side_words import SideWords, side_words_from

SIDE_IN_WORDS = {"_L": "left", "_R": "right"}

TWO_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "œ": "oe", "æ": "ae", "ø": "oe"})
MARKS = range(0x300, 0x370)
"""Accents and umlauts over letters of European scripts. Marks of other scripts make other letters."""

TARGET = re.compile(r"z?(gtv|ctv|itv|ptv)")
"""How the name of what is irradiated begins. Such a name may hold that of the organ that it lies in."""

NEAR = 0.75
"""How alike a name must be to one in the table to be suggested for it (share of letters in common, in order)."""

LONGEST_NAME = 16
"""Some planning systems use ROI names as identifiers of at most 16 characters, without regard to case."""

SHIPPED = resources.files("rtseg_daemon.anatomy") / "synonyms.yaml"


def ascii_line(text: str, longest: int) -> str:
    """One line of printable ASCII without the backslash (DICOM's separator), at most `longest` characters."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    line = re.sub(r"[\x00-\x1f\x7f]+", " ", plain).replace("\\", "/")
    return line.strip()[:longest].strip()


def words_of(name: str) -> list[str]:
    """A name's words in small letters, split at signs, spaces and capitals inside a word. Letters of every script."""
    spaced = ""
    for before, one in itertools.pairwise(" " + unicodedata.normalize("NFKC", name)):
        spaced += " " if before.islower() and one.isupper() else ""
        spaced += one if one.isalnum() or unicodedata.category(one).startswith("M") else " "
    return spaced.lower().split()


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
    sides: SideWords

    def lookup(self, name: str) -> str | None:
        """The TG-263 name, or None if the table does not know it or a paired organ's name does not tell the side."""
        key, sides = self.key_of(name)
        if len(sides) > 1:
            return None
        for spelling in spellings(key) if key else []:
            if sides and spelling in self.sided:
                return self.sided[spelling] + min(sides)
            if not sides and spelling in self.single:
                return self.single[spelling]
        return None

    def key_of(self, name: str) -> tuple[str, set[str]]:
        """A name without words for its side, joined, and the sides that it names: `_L`, `_R`, both or none.

        The side may be joined to the name of a paired organ: lparotid, PAROTIDR, 左腮腺.
        """
        words = words_of(name)
        sides = self.sides.of(words)
        key = "".join(self.sides.without(words))
        if sides or self.base(key):
            return key, sides
        for side in sorted(self.sides.sure, key=len, reverse=True):
            for rest in {key.removeprefix(side), key.removesuffix(side)} - {key}:
                if any(spelling in self.sided for spelling in spellings(rest)):
                    return rest, self.sides.of([side])
        return key, sides

    def suggest(self, name: str) -> str:
        """What an unmapped name may have been meant for, and what it lacks, empty where nothing is near."""
        key, sides = self.key_of(name)
        plain = spellings(key)[-1]
        near = get_close_matches(plain, [*self.single, *self.sided], n=1, cutoff=NEAR) if key else []
        organ = self.base(near[0]) if near else None
        if organ is None or TARGET.match(key):
            return ""
        if near[0] not in self.sided:
            return f"{organ}, which has no side" if sides else organ
        if len(sides) == 1:
            return organ + min(sides)
        return f"{organ}_L and {organ}_R in one" if sides else f"{organ}_L or {organ}_R: it does not tell the side"

    def base(self, key: str) -> str | None:
        """The organ that a key without its side stands for, whether or not it comes in pairs."""
        found = (self.single.get(spelling) or self.sided.get(spelling) for spelling in spellings(key))
        return next((organ for organ in found if organ), None)


def table_from(document: Any) -> NameTable:
    """The table in a file's `document`. Raises ValueError naming what is wrong in it."""
    sides = side_words_from(document["sides"], ways) if document.get("sides") else shipped_table().sides
    tables = {part: inverted(document.get(part) or {}, part, sides) for part in ("single", "sided")}
    return NameTable(tables["single"], tables["sided"], sides)


def ways(word: str) -> list[str]:
    """How a word for a side may be spelled, in small letters: höger, hoeger, hoger."""
    plain = unicodedata.normalize("NFKC", word).lower()
    return [plain, *spellings(plain)]


def inverted(table: Any, part: str, sides: SideWords) -> dict[str, str]:
    """Synonym to name. Raises ValueError for what is no list of names, and if one synonym stands for two organs."""
    if not isinstance(table, dict):
        raise ValueError(f"{part}: organs with lists of names are expected, as in the shipped synonyms.yaml")
    out: dict[str, str] = {}
    for organ, synonyms in table.items():
        if not isinstance(synonyms, list):
            raise ValueError(f"{organ}: a list of names is expected, such as [a, b], and not {synonyms!r}")
        keys = [key for one in (organ, *synonyms) for key in keys_in(one, organ, sides)]
        for key in sorted(set(keys)):
            if out.setdefault(key, organ) != organ:
                raise ValueError(f"{key!r} stands for {out[key]} and for {organ}")
    return out


def keys_in(synonym: Any, organ: Any, sides: SideWords) -> list[str]:
    """The keys of one entry. Raises ValueError for one that is no text or would stand for every name."""
    if not isinstance(synonym, str):
        raise ValueError(f"{organ}: {synonym} is no text; put it in quotes")
    key = "".join(word for word in words_of(synonym) if word not in sides.every)
    if not key:
        raise ValueError(
            f"{organ}: {synonym!r} has no letters of its own, signs and words for a side do not count; "
            "take it out of the table"
        )
    return spellings(key)


@cache
def shipped_table() -> NameTable:
    """The table that comes with the package."""
    return table_from(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Meaning:
    """What a name says: which organs (TG-263 without side), which sides, and whether it is of a target."""

    organs: frozenset[str]
    sides: frozenset[str]
    target: bool


@cache
def meaning_of(name: str) -> Meaning:
    """What a name says by the shipped table. A side may be joined to its organ: PAROTIDR, lparotis."""
    sides = shipped_table().sides
    words = [part for word in words_of(name) for part in parts_of(word)]
    rest = [word for word in words if word not in sides.every]
    target = any(TARGET.match(word) for word in rest)
    return Meaning(frozenset(organs_in(rest)), frozenset(sides.of(words)), target)


def parts_of(word: str) -> list[str]:
    """A word as side and organ where it is the two joined, else as it is. Digits at its end say nothing."""
    bare = word.rstrip("0123456789") or word
    table = shipped_table()
    if table.base(bare) or bare in table.sides.every:
        return [bare]
    for side in sorted(table.sides.every, key=len, reverse=True):
        if bare.startswith(side) and table.base(bare.removeprefix(side)):
            return [side, bare.removeprefix(side)]
        if bare.endswith(side) and table.base(bare.removesuffix(side)):
            return [bare.removesuffix(side), side]
    return [word]


def organs_in(words: Sequence[str]) -> Iterator[str]:
    """The organs that runs of words stand for, the longest run first: `optic nerve` is no `optic`."""
    start = 0
    while start < len(words):
        for end in range(len(words), start, -1):
            if organ := shipped_table().base("".join(words[start:end])):
                yield organ
                start = end
                break
        else:
            start += 1


def contradiction(organ: str, name: str) -> str:
    """What is wrong with calling `organ` (its TG-263 name) by `name`: another side, another organ. Empty if nothing."""
    own, said = meaning_of(organ), meaning_of(name)
    for side in sorted(said.sides - own.sides):
        if own.sides or own.organs:
            return f"{name!r} names the {SIDE_IN_WORDS[side]} side, on which {organ} does not lie"
    if said.target and not own.target:
        return f"{name!r} names an irradiated volume, and {organ} is an organ"
    if said.organs and not said.organs & own.organs and not (own.target and said.target):
        return f"{name!r} names another organ ({', '.join(sorted(said.organs))}) than {organ}"
    return ""


def likely(name: str, known: Sequence[str]) -> list[str]:
    """The `known` TG-263 names that the synonyms say is meant by `name`, of both sides where it names none."""
    said = meaning_of(name)
    meant = [one for one in known if said.organs and meaning_of(one).organs == said.organs]
    return [one for one in meant if not said.sides or meaning_of(one).sides == said.sides]
