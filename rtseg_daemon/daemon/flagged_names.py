"""Names with flags in them, before any is sent: which two organs could have one, and which would lose its side."""

from collections.abc import Iterator, Sequence

from rtseg_daemon.anatomy.called import meaning_of
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import DestinationPeer
from rtseg_daemon.rtstruct.names import MARKS, marked

MARK_LIST = ("", *MARKS.values())


def doubtful_names(config: Config, bundles: Sequence[Bundle]) -> Iterator[str]:
    """A sentence for each name under `flag_in_name` that two organs may get, or that no longer tells the organ's side.

    Such structure sets are sent all the same: the second of two gets a number.
    """
    organs = list(dict.fromkeys(organ.name for bundle in bundles for organ in bundle.classes))
    with_rings = {name for route in config.routes if route.rings for name in route.destinations}
    for destination in config.destinations:
        if destination.flag_in_name:
            chosen = [name for name in organs if not destination.only or name in destination.only]
            yield from doubts(destination, chosen, rings=destination.name in with_rings)


def doubts(destination: DestinationPeer, organs: Sequence[str], *, rings: bool) -> Iterator[str]:
    """The sentences about one destination."""
    taken: dict[str, tuple[str, str]] = {}
    for organ in organs:
        local = destination.roi_names.get(organ, organ)
        for name in (local, f"z{local}") if rings else (local,):
            ways = [marked(name, mark) for mark in MARK_LIST]
            if any(meaning_of(way).sides != meaning_of(name).sides for way in ways):
                yield (
                    f"destination {destination.name}: {ways[-1]!r} would no longer tell the side of {organ}; give it a "
                    "name of at most 12 characters in roi_names"
                )
            for way in ways:
                other, _ = taken.setdefault(way.casefold(), (organ, name))
                if other != organ:
                    yield (
                        f"destination {destination.name}: both {other} and {organ} could be called {way!r}, and one "
                        "would get a number; give one of them a shorter name in roi_names"
                    )
                    break
