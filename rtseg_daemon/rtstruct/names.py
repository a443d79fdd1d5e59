"""ROI names that planning systems accept and file names that no stranger chooses."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from rtseg_daemon.anatomy.called import LONGEST_NAME, ascii_line

LONGEST_STEM_BYTES = 120
"""Of a file name without its suffix: every file system takes that."""


def unique_names(names: Iterable[str], longest: int = LONGEST_NAME) -> list[str]:
    """Each name cut to `longest` ASCII characters. Where two would be alike but for case, the later gets a number."""
    return numbered((ascii_line(name, longest) or "ROI" for name in names), longest)


def unique_stems(names: Iterable[str]) -> list[str]:
    """File names (see `file_stem`) of which no two are alike but for case."""
    return numbered((file_stem(name) for name in names), LONGEST_STEM_BYTES)


def numbered(names: Iterable[str], longest: int) -> list[str]:
    """The names. Where two would be alike but for case, the later gets a number within `longest` characters."""
    taken: set[str] = set()
    result = []
    for base in names:
        chosen, number = base, 2
        while chosen.casefold() in taken:
            suffix = f"_{number}"
            chosen, number = base[: longest - len(suffix)] + suffix, number + 1
        taken.add(chosen.casefold())
        result.append(chosen)
    return result


def names_of_rois(organs: Iterable[str], rings: Iterable[str], local: Mapping[str, str]) -> list[str]:
    """Names of the ROIs in the file: `organs` by their `local` name where they have one, then a `z` before each ring's.

    Planning systems list names in order, so rings stand after the organs.
    """
    return unique_names([*(local.get(n, n) for n in organs), *(f"z{local.get(n, n)}" for n in rings)])


def file_stem(name: str) -> str:
    """A file name without folder, dot or anything else a file system could take for more than a name.

    Letters and digits of every script stay, in their composed form.
    """
    plain = unicodedata.normalize("NFC", name)
    stem = re.sub(r"_+", "_", "".join(one if belongs_in_file_name(one) else "_" for one in plain)).strip("_")
    return stem.encode()[:LONGEST_STEM_BYTES].decode("utf-8", "ignore") or "ROI"


def belongs_in_file_name(one: str) -> bool:
    """A letter or digit of any script, a mark on one, or one of `_ + ~ -`."""
    return one.isalnum() or one in "_+~-" or unicodedata.category(one) in ("Mn", "Mc")
