"""ROI names that planning systems accept and file names that no stranger chooses."""

import re
from collections.abc import Iterable, Mapping

from rtseg_daemon.anatomy.called import LONGEST_NAME as LONGEST_NAME
from rtseg_daemon.anatomy.called import ascii_line as ascii_line


def unique_names(names: Iterable[str], longest: int = LONGEST_NAME) -> list[str]:
    """Each name cut to `longest` ASCII characters; where two would be alike but for case, the later gets a number."""
    taken: set[str] = set()
    result = []
    for name in names:
        base = ascii_line(name, longest) or "ROI"
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
    """A file name without folder, dot or anything else a file system could take for more than a name."""
    plain = ascii_line(name, 64)
    return re.sub(r"[^A-Za-z0-9_+~-]+", "_", plain).strip("_") or "ROI"
