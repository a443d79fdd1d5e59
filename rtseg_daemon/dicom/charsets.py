"""Text of strangers in DICOM's character sets, and no others, and when two spellings are one name."""

import re
import unicodedata
from collections.abc import Sequence

from pydicom.charset import convert_encodings, decode_bytes

from rtseg_daemon.dicom.quiet import quiet

CHARACTER_SETS = frozenset(
    [f"ISO_IR {n}" for n in (6, 100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166, 192)]
    + [f"ISO 2022 IR {n}" for n in (6, 100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166, 87, 159, 149, 58)]
    + ["GB18030", "GBK"]
)
"""Defined terms of SpecificCharacterSet (PS3.3 C.12.1.1.2)."""

LATIN_9 = {"ISO_IR 203": "iso8859_15", "ISO 2022 IR 203": "iso8859_15"}
"""Young terms that pydicom does not know."""

MISSPELLED = re.compile(r"ISO[ _-](2022[ _-])?IR[ _-]?(\d+)")
NAME_DELIMITERS = {ord("^"), ord("=")}
"""What ends the effect of an escape sequence in a person's name (PS3.5 6.1.2.5.3)."""


def encodings_of(declared: Sequence[str]) -> list[str]:
    """Python's names for the values of SpecificCharacterSet. What DICOM does not define is the default repertoire.

    Python has codecs of other names, which a stranger must not choose: some make of plain text what no database takes.
    """
    terms = [defined(term) for term in declared] or [""]
    with quiet():
        names = list(convert_encodings(["ISO_IR 100" if term in LATIN_9 else term for term in terms]))
    return [LATIN_9.get(term, name) for term, name in zip(terms, names, strict=False)]


def defined(term: str) -> str:
    """The defined term that is meant, common misspellings included, empty if there is none."""
    plain = term.strip(" \0").upper()
    if match := MISSPELLED.fullmatch(plain):
        plain = f"ISO 2022 IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"
    return plain if plain in CHARACTER_SETS else ""


def storable(text: str) -> str:
    """The text without what UTF-8 cannot hold (halves of surrogate pairs), which some decoders let through."""
    return text.encode("utf-8", "replace").decode()


def decoded(value: bytes, declared: Sequence[str]) -> str | None:
    """A value of text or a name in its character set, or None where its bytes break it."""
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    try:
        with quiet("error"):
            return storable(decode_bytes(value, encodings_of(declared), NAME_DELIMITERS))
    except Exception:  # noqa: BLE001 - a stranger's bytes: a decoder may raise anything
        return None


def comparable(value: bytes, declared: Sequence[str]) -> str:
    """What two spellings of one name or identifier have in common, whatever their character sets.

    Components are trimmed, those that are empty at the end left out with their delimiters (PS3.5 6.2.1.1), and accents
    composed. Bytes that break their character set are compared as they are.
    """
    text = decoded(value, declared)
    if text is None:
        return "\0" + value.strip(b" \0").hex()  # no text begins so once it is trimmed
    groups = ["^".join(part.strip(" \0") for part in group.split("^")).rstrip("^") for group in text.split("=")]
    return unicodedata.normalize("NFC", "=".join(groups).rstrip("="))
