"""What single values of the configuration may be: titles, names, expressions, times."""

import re
from datetime import time
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

JOINER = "+"
"""Between the names of bundles whose ROIs land in one structure set: `han-oar+han-gtv`."""

VERSION_MARK = "@"
"""Between a bundle's name and one of its versions, where not the one that serves is meant: `han-oar@1.4`."""

RAY_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


def without_version(names: str) -> str:
    """`han-oar+han-gtv` of `han-oar@1.4+han-gtv`."""
    return JOINER.join(name.partition(VERSION_MARK)[0] for name in names.split(JOINER))


def check_ae_title(value: str) -> str:
    """An AE title: 1 to 16 printable ASCII characters without backslash, not blank (PS3.5, 6.2, VR AE)."""
    title = value.strip(" ")
    if not 1 <= len(title) <= 16 or "\\" in title or not (title.isascii() and title.isprintable()):
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash")
    return title


def check_regex(value: str) -> str:
    """A regular expression of Python's `re`, searched for without regard to case."""
    try:
        re.compile(value, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return value


def check_fingerprint(value: str) -> str:
    """A certificate's SHA-256 fingerprint as openssl prints it, with or without colons, kept as 64 small hex digits."""
    digits = value.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError("a fingerprint is the SHA-256 of the certificate: 64 hex digits, colons allowed")
    return digits


def check_bundles(value: tuple[str, ...]) -> tuple[str, ...]:
    """At least one bundle, and none twice."""
    if not value:
        raise ValueError("name at least one bundle")
    return check_not_twice(value)


def check_bundle_name(value: str) -> str:
    """One bundle's name: JOINER stands between those of several."""
    if JOINER in value:
        raise ValueError(f"list the bundles and say `structure_sets: joined`; a name holds no {JOINER!r}")
    return value


def check_version_named(value: str) -> str:
    """One version of a bundle, `NAME@VERSION`, and no other than that."""
    name, mark, version = check_bundle_name(value).partition(VERSION_MARK)
    if not (name and mark and version):
        raise ValueError(f"name the version too, as in han-oar{VERSION_MARK}2.0: what serves may change")
    return value


def check_not_twice(value: tuple[str, ...]) -> tuple[str, ...]:
    """None twice."""
    if len(set(value)) < len(value):
        raise ValueError("a bundle is named twice")
    return value


def one_or_many(value: object) -> object:
    """A single name counts as a list of one."""
    return (value,) if isinstance(value, str) else value


def mail_address(value: object) -> object:
    """A bare address counts as a mail section with one recipient."""
    return {"to": (value,)} if isinstance(value, str) else value


def time_of_day(value: object) -> object:
    """A time such as 07:30."""
    if isinstance(value, str) and (found := re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value.strip())):
        return time(int(found[1]), int(found[2]))
    if value is None:
        return None
    raise ValueError('a time of day is written "07:30"')


def check_ray_address(value: str) -> str:
    """`auto`, `HOST:PORT` or `ray://HOST:PORT`. Raises ValueError."""
    host, _, port = value.removeprefix("ray://").rpartition(":")
    if value != "auto" and not (RAY_HOST.fullmatch(host) and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError('write auto, HOST:PORT, or ray://HOST:PORT (docs/cluster.md, "Ray")')
    return value


AeTitle = Annotated[str, AfterValidator(check_ae_title)]
Regex = Annotated[str, AfterValidator(check_regex)]
Fingerprint = Annotated[str, AfterValidator(check_fingerprint)]
Port = Annotated[int, Field(ge=1, le=65535)]
RayAddress = Annotated[str, AfterValidator(check_ray_address)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Channel = Annotated[int, Field(ge=0, le=255)]
Seconds = Annotated[float, Field(gt=0)]
Names = Annotated[tuple[Name, ...], BeforeValidator(one_or_many)]
BundleNames = Annotated[
    tuple[Annotated[Name, AfterValidator(check_bundle_name)], ...],
    BeforeValidator(one_or_many),
    AfterValidator(check_bundles),
]


VersionName = Annotated[Name, AfterValidator(check_version_named)]
VersionNames = Annotated[tuple[VersionName, ...], BeforeValidator(one_or_many), AfterValidator(check_not_twice)]
