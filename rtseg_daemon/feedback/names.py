"""Which organ each ROI of a returned structure set is. Pure.

A person's word counts first, then the names that the destinations got from us, backwards, then TG-263's own names, then
the table of synonyms. A name that none of these knows may be one of our organs: then a person is asked.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rtseg_daemon.anatomy.called import LONGEST_NAME, TARGET, ascii_line, shipped_table, words_of
from rtseg_daemon.config.sections import DestinationPeer
from rtseg_daemon.rtstruct.names import MARKS, marked

PERSON, DESTINATION, EXACT, SYNONYM = "person", "destination", "exact", "synonym"
SURER = (PERSON, DESTINATION, EXACT, SYNONYM)
"""What `named_by` says, the surest first."""


@dataclass(frozen=True)
class Roi:
    """One ROI as it stands in the file."""

    number: int
    name: str
    contours: int


@dataclass(frozen=True)
class Named:
    """An ROI and what it is.

    Args:
        organ: TG-263 name, or None where nobody knows, or where it is none of ours.
        named_by: how that is known, or None where it is not. With `person` or `destination` and no organ: not ours.
        rival: whether another ROI may be the organ just as well.
        unknown: whether nobody knows the name, while an organ of ours is not found.
    """

    roi: Roi
    organ: str | None = None
    named_by: str | None = None
    rival: bool = False
    unknown: bool = False


def key_of(name: str) -> str:
    """A name as names are compared: without case, blanks and signs. One of signs alone is compared as it is."""
    return "".join(words_of(name)) or name.strip()


def named(
    rois: Sequence[Roi],
    organs: Collection[str],
    destinations: Iterable[DestinationPeer],
    said_by_people: Mapping[str, str | None],
) -> list[Named]:
    """Each ROI with its organ. `organs` are those that we delivered, `said_by_people` has names by their key."""
    sent = names_sent(organs, destinations)
    found = without_rivals([one_named(roi, sent, said_by_people) for roi in rois])
    lacks = lacking(found, organs)
    return [asked(one, lacks) for one in found]


def one_named(roi: Roi, sent: Mapping[str, str | None], said_by_people: Mapping[str, str | None]) -> Named:
    """What one name means, without regard to the others."""
    key = key_of(roi.name)
    if key in said_by_people:
        return Named(roi, said_by_people[key], PERSON)
    if key in sent:
        organ = sent[key]
        exact = organ is not None and ascii_line(organ, LONGEST_NAME) == roi.name.strip()
        return Named(roi, organ, EXACT if exact else DESTINATION)
    organ = shipped_table().lookup(roi.name)
    if organ is None:
        return Named(roi)
    return Named(roi, organ, EXACT if organ == roi.name.strip() else SYNONYM)


def names_sent(organs: Collection[str], destinations: Iterable[DestinationPeer]) -> dict[str, str | None]:
    """Key to organ, for every name under which one may have been sent. None for a ring, which is none of ours.

    A key that stands for two organs is left out.
    """
    meant: dict[str, set[str | None]] = defaultdict(set)
    for local in [{}, *(one.roi_names for one in destinations)]:
        for organ in organs:
            name = local.get(organ, organ)
            for written in (ascii_line(name, LONGEST_NAME), *(marked(name, mark) for mark in MARKS.values())):
                meant[key_of(written)].add(organ)
            meant[key_of(ascii_line(f"z{name}", LONGEST_NAME))].add(None)
    return {key: next(iter(found)) for key, found in meant.items() if len(found) == 1}


def without_rivals(found: Sequence[Named]) -> list[Named]:
    """Of several ROIs of one organ the one that is drawn and whose name is surest. Where two are, none of them."""
    by_organ: dict[str, list[Named]] = defaultdict(list)
    for one in found:
        if one.organ is not None:
            by_organ[one.organ].append(one)
    chosen = {organ: surest(rivals) for organ, rivals in by_organ.items()}
    return [settled(one, chosen.get(one.organ or "", one)) for one in found]


def surest(rivals: Sequence[Named]) -> Named | None:
    ordered = sorted(rivals, key=rank)
    return None if len(ordered) > 1 and rank(ordered[0]) == rank(ordered[1]) else ordered[0]


def rank(one: Named) -> tuple[bool, int]:
    return one.roi.contours == 0, SURER.index(one.named_by or SYNONYM)


def settled(one: Named, chosen: Named | None) -> Named:
    """An ROI once it is known which of its rivals is the organ."""
    if one is chosen or one.organ is None:
        return one
    if chosen is None:
        return Named(one.roi, rival=one.roi.contours > 0)
    return Named(one.roi, named_by=one.named_by)


def lacking(found: Sequence[Named], organs: Collection[str]) -> set[str]:
    """Organs that we delivered and that no ROI is known to be."""
    return set(organs) - {one.organ for one in found if one.organ is not None and one.roi.contours}


def asked(one: Named, lacks: Collection[str]) -> Named:
    """With a word on whether the name is unknown: that of a drawn ROI, while an organ of ours is not found."""
    unknown = one.named_by is None and not one.rival and one.roi.contours > 0 and bool(lacks)
    return replace(one, unknown=unknown and not is_target(one.roi.name))


def is_target(name: str) -> bool:
    """Whether the name is that of an irradiated volume, which is none of our organs."""
    return any(TARGET.match(word) for word in words_of(name))
