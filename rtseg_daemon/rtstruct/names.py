"""ROI names that planning systems accept and file names that no stranger chooses."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from rtseg_daemon.anatomy.called import LONGEST_NAME, ascii_line, meaning_of
from rtseg_daemon.anatomy.organ import Flag

LONGEST_STEM_BYTES = 120
"""Of a file name without its suffix: every file system takes that."""

MARKS = {Flag.REVIEW: "_RVW", Flag.REJECT: "_RJT"}
"""What ends the name of an ROI whose flag stands in its name. One that is OK has none."""

SHORT_WORD = 4
"""Characters of a last word, the sign before it among them, that is part of what an organ is: `_L`, `_I`, `^2`."""


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


def names_of_rois(
    organs: Iterable[str], rings: Iterable[str], local: Mapping[str, str], marks: Mapping[str, str] | None = None
) -> list[str]:
    """Names of the ROIs in the file: `organs` by their `local` name where they have one, then a `z` before each ring's.

    `marks` end the names of some organs and of their rings. Planning systems list names in order, so rings stand after
    the organs.
    """
    wanted = [(organ, local.get(organ, organ)) for organ in organs]
    wanted += [(organ, f"z{local.get(organ, organ)}") for organ in rings]
    if not marks:
        return unique_names(name for _, name in wanted)
    taken: set[str] = set()
    result = []
    for organ, name in wanted:
        chosen, number = marked(name, marks.get(organ, "")), 2
        while chosen.casefold() in taken:
            chosen, number = marked(name, f"_{number}{marks.get(organ, '')}"), number + 1
        taken.add(chosen.casefold())
        result.append(chosen)
    return result


def marked(name: str, mark: str) -> str:
    """`Glnd_Subma_L_RVW` of `Glnd_Submand_L`: the name cut for its mark, within 16 characters.

    A short last word stays (`_L`, `_I`), and so does the side that the name tells. Where no cut keeps the side, the end
    goes (`config check` names such a name).
    """
    whole = ascii_line(name, 2 * LONGEST_NAME) or "ROI"
    room = LONGEST_NAME - len(mark)
    if len(whole) <= room:
        return whole + mark
    last_words = [k for k in range(2, room) if whole[-k] in "_ "]
    ends = [*(k for k in last_words if k <= SHORT_WORD), 0, *last_words, *range(1, room)]
    cuts = (whole[: room - k] + whole[len(whole) - k :] for k in ends)
    sides = meaning_of(whole).sides
    return next((cut for cut in cuts if meaning_of(cut).sides == sides), whole[:room]) + mark


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
