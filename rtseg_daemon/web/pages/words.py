"""What pages say of values: times, durations and figures, and the words of strangers made harmless."""

import unicodedata
from datetime import UTC, datetime

from markupsafe import Markup

MOST = 160
"""Characters of a stranger's text that a page shows."""
HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Categories of characters that are not seen, or turn the text around them: controls, ANSI's escape, bidi marks."""
JOINERS = "\u200c\u200d"
"""Invisible, and needed to write Persian and other languages."""
SHOWN_INSTEAD = "\N{REPLACEMENT CHARACTER}"
DASH = "–"


def clean(text: object, most: int = MOST) -> str:
    """One line of at most `most` characters without any that are not seen."""
    given = str(text)[: 4 * most]
    shown = "".join(
        SHOWN_INSTEAD if unicodedata.category(one) in HIDDEN and one not in JOINERS else one
        for one in given.replace("\t", " ").replace("\r\n", " ").replace("\n", " ")
    )
    shown = " ".join(shown.split())
    return shown if len(shown) <= most and len(str(text)) <= len(given) else f"{shown[: most - 1]}…"


def stranger(text: object, most: int = MOST) -> Markup:
    """Text that somebody else wrote: cut, escaped, and isolated, so that it turns nothing around it."""
    if text is None or text == "":
        return Markup('<span class="none">–</span>')
    return Markup("<bdi>{}</bdi>").format(clean(text, most))


def moment(value: float | str | None) -> datetime | None:
    """Seconds since 1970, or `2026-01-31T12:00:00.000Z`, as a time of this machine's zone. None where it is none."""
    if value is None or value == "":
        return None
    try:
        at = datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) else datetime.fromisoformat(value)
        return at.astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def when(value: float | str | None, *, day: bool = True) -> Markup:
    """A time as people of this place read it. The browser gets it in UTC beside that."""
    at = moment(value)
    if at is None:
        return Markup('<span class="none">–</span>')
    shown = at.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")
    machine = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}">{}</time>').format(machine, shown)


def zone() -> str:
    """The zone that times are shown in, with its distance from UTC."""
    now = datetime.now().astimezone()
    return f"{now.strftime('%Z')} (UTC{now.strftime('%z')[:3]}:{now.strftime('%z')[3:]})"


def span(seconds: float | None) -> str:
    """A duration: `0.4 s`, `42 s`, `3 min 05 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds is None:
        return DASH
    whole = round(abs(seconds))
    if whole < 10:
        return f"{max(seconds, 0.0):.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def figure(value: object, digits: int = 2) -> str:
    """A number with so many digits after the point, a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return DASH
    return f"{value:.{digits}f}"


def size(octets: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} GB"


def short(digest: object) -> str:
    """The first twelve digits of a digest."""
    return str(digest or DASH)[:12]
