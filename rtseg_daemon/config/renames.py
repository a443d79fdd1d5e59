"""Which of a destination's `roi_names` would have an organ taken for another one, or for that of the other side."""

from collections.abc import Iterator, Mapping

from rtseg_daemon.anatomy.called import LONGEST_NAME, ascii_line, contradiction


def wrong_names(roi_names: Mapping[str, str], rings: bool) -> Iterator[tuple[str, str]]:
    """Yield (organ, message) for every name that says another side or organ, or that two organs would share.

    Names are compared as they stand in the file: in ASCII, cut to 16 characters, without regard to case. With `rings`
    so are those of the rings, which are a `z` and the organ's name.
    """
    taken: dict[str, str] = {}
    for organ, name in roi_names.items():
        if wrong := contradiction(organ, name):
            yield organ, f"{wrong}; give it a name of its own, or leave it out"
            continue
        written = [ascii_line(name, LONGEST_NAME), *([ascii_line(f"z{name}", LONGEST_NAME)] if rings else [])]
        for one in written:
            other = taken.setdefault(one.casefold(), organ)
            if other != organ:
                yield (
                    organ,
                    f"{one!r} would name both {other} and {organ}; give each a name of its own",
                )
                break
