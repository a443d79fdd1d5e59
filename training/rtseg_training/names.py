"""What a department calls an organ becomes its TG-263 name, by a table that the department can edit."""

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from rtseg_training.errors import CaseError

LEFT = frozenset(("l", "lt", "left", "li", "links", "sin", "g", "gauche"))
RIGHT = frozenset(("r", "rt", "right", "re", "rechts", "dex", "dx", "d", "droite"))


def words_of(name: str) -> list[str]:
    """A name's words in small letters, split at signs, spaces and capitals inside a word."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]


def key_of(name: str) -> tuple[str, str]:
    """A name without its side, joined, and the side: `_L`, `_R` or nothing (also where both sides are named)."""
    words = words_of(name)
    sides = {"_L" for word in words if word in LEFT} | {"_R" for word in words if word in RIGHT}
    rest = [word for word in words if word not in LEFT and word not in RIGHT]
    return "".join(rest), sides.pop() if len(sides) == 1 else ""


@dataclass(frozen=True)
class NameTable:
    """Synonym to TG-263 base name, for organs that lie on the midline and for those that come in pairs."""

    single: dict[str, str]
    sided: dict[str, str]

    def lookup(self, name: str) -> str | None:
        """The TG-263 name, or None if the table does not know it or a paired organ's name does not tell the side."""
        key, side = key_of(name)
        if side and key in self.sided:
            return self.sided[key] + side
        return None if side else self.single.get(key)


def load_names(path: Path | None = None) -> NameTable:
    """The table at `path`, or the one that came with the package; raises CaseError naming what is wrong in it."""
    shipped = resources.files("rtseg_training") / "synonyms.yaml"
    where = path or "synonyms.yaml"
    try:
        document = yaml.safe_load((path or shipped).read_text())
        tables = {part: inverted(document.get(part, {}), str(where)) for part in ("single", "sided")}
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise CaseError(
            f"{where} is no table of names ({error}); copy the shipped synonyms.yaml and edit it"
        ) from error
    return NameTable(tables["single"], tables["sided"])


def inverted(table: dict[str, list[str]], where: str) -> dict[str, str]:
    """Synonym to name; raises CaseError if one synonym stands for two organs."""
    out: dict[str, str] = {}
    for organ, synonyms in table.items():
        for synonym in sorted({key_of(str(one))[0] for one in (organ, *synonyms)}):
            if out.setdefault(synonym, organ) != organ:
                raise CaseError(f"{where}: {synonym!r} stands for {out[synonym]} and for {organ}")
    return out
