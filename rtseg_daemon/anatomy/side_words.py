"""Words for left and right in names of organs, by language, as the table of names lists them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KINDS = ("left", "right", "letter_left", "letter_right")


@dataclass(frozen=True)
class SideWords:
    """Words for a side, in small letters.

    Args:
        left, right: these always name a side.
        letter_left, letter_right: letters that begin other words too (d: droite, and deep). They count where no other
            word names a side.
    """

    left: frozenset[str]
    right: frozenset[str]
    letter_left: frozenset[str]
    letter_right: frozenset[str]

    @property
    def sure(self) -> frozenset[str]:
        return self.left | self.right

    @property
    def every(self) -> frozenset[str]:
        return self.sure | self.letter_left | self.letter_right

    def of(self, words: Sequence[str]) -> set[str]:
        """The sides that a name's words name, as TG-263 ends names: `_L`, `_R`, both or none."""
        return self._named(words, self.left, self.right) or self._named(words, self.letter_left, self.letter_right)

    def without(self, words: Sequence[str]) -> list[str]:
        """The words but those that name the side. A letter stays where a word names the side."""
        named = self.sure if self._named(words, self.left, self.right) else self.every
        return [word for word in words if word not in named]

    def _named(self, words: Sequence[str], left: frozenset[str], right: frozenset[str]) -> set[str]:
        return {"_L" for word in words if word in left} | {"_R" for word in words if word in right}


def side_words_from(languages: Any, spelled: Callable[[str], Iterable[str]]) -> SideWords:
    """The words of all `languages`, as the table of names has them, in every way in which they may be `spelled`.

    Raises ValueError naming a language that lacks one side, or a word that stands for both.
    """
    if not isinstance(languages, Mapping):
        raise ValueError("sides: languages with words for left and right are expected, as in the shipped synonyms.yaml")
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for language, sides in languages.items():
        for kind in _kinds_of(sides, f"sides: {language}"):
            found[kind] |= {way for word in _words(sides[kind], f"sides: {language}, {kind}") for way in spelled(word)}
    words = SideWords(*(frozenset(found[kind]) for kind in KINDS))
    both = (words.left | words.letter_left) & (words.right | words.letter_right)
    if both:
        raise ValueError(f"sides: {min(both)!r} stands for left and for right; leave it out of one")
    return words


def _kinds_of(sides: Any, where: str) -> list[str]:
    if not isinstance(sides, Mapping):
        raise ValueError(f"{where}: lists of words for left and right are expected, as in the shipped synonyms.yaml")
    unknown = sorted(map(str, sides.keys() - set(KINDS)))
    if unknown:
        raise ValueError(f"{where}: {unknown[0]} is none of {', '.join(KINDS)}")
    for one, other in (("left", "right"), ("right", "left"), ("letter_left", "letter_right"),
                       ("letter_right", "letter_left")):  # fmt: skip
        if sides.get(one) and not sides.get(other):
            raise ValueError(f"{where}: it has words for {one} and none for {other}; give both")
    return [kind for kind in KINDS if sides.get(kind)]


def _words(words: Any, where: str) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) and word.isalpha() for word in words):
        raise ValueError(f"{where}: a list of single words is expected, such as [l, left], and not {words!r}")
    return words
