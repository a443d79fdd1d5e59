"""An image that is in the ledger comes again, and only its earlier copy can tell what to make of it.

That copy may be damaged, or lie on a host that is gone. Nothing is acknowledged and thrown away then: the new file is
kept in its place, or refused for now.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from rtseg_daemon.errors import ExchangeError, HostAway, StorageError, Undecided
from rtseg_daemon.ledger.schema import Instance
from rtseg_daemon.receive.comparison import Compared, Comparison
from rtseg_daemon.stored import Files, Stored


@dataclass(frozen=True)
class Doubt:
    """One UID came twice.

    Args:
        stored: the object that is kept.
        pixel_sha256: digest of its pixel values, empty where nobody has made one.
        alike: whether both have the same bytes. Only where the earlier copy is must be found out then.
        silent: whether its host has not been heard of for so long that it is taken for gone.
        answer: what came of the comparison, once it was made.
        lost: whether the file of the earlier copy is not there any more, so that the new one is needed.
    """

    stored: Stored
    pixel_sha256: str = ""
    alike: bool = False
    silent: bool = False
    answer: Compared | None = None
    lost: bool = False


def settle(doubt: Doubt, files: Files, comparison: Comparison, ours: Path, peer: str) -> Doubt:
    """The doubt with an answer about the file `ours`, which `peer` brought. It may ask a host: no transaction is open.

    Raises Undecided where nothing can be told now, OSError where a file cannot be read.
    """
    try:
        there = files.intact(doubt.stored)
    except (HostAway, StorageError) as error:
        return without_its_host(doubt, files, comparison, ours, peer, str(error))
    if not there:
        # a kept file that was damaged tells nothing. This copy of the same patient and place mends it
        return replace(doubt, answer=Compared(same=True), lost=True)
    if doubt.alike:
        return replace(doubt, answer=Compared(same=True))
    return replace(doubt, answer=comparison.compare(peer, at_hand(files, doubt.stored), ours, doubt.pixel_sha256))


def without_its_host(doubt: Doubt, files: Files, comparison: Comparison, ours: Path, peer: str, reason: str) -> Doubt:
    """The same where the host of the earlier copy does not answer. One that was seen a moment ago is waited for.

    Of one that is silent the new file takes the place, where both are proved to be the same.
    """
    if not doubt.silent:
        raise Undecided(reason)
    if doubt.alike:
        return replace(doubt, answer=Compared(same=True), lost=True)
    try:
        kept = at_hand(files, doubt.stored)  # it may have been fetched before
    except Undecided:
        kept = None
    if kept is None and not doubt.pixel_sha256:
        host = doubt.stored.host
        raise Undecided(f"{reason}; if host {host} is gone for good, `rtseg-daemon drain {host} --forget`")
    return replace(doubt, answer=comparison.compare(peer, kept, ours, doubt.pixel_sha256), lost=True)


def at_hand(files: Files, stored: Stored) -> Path:
    """Where the earlier copy can be read. Raises Undecided where it cannot be fetched now."""
    try:
        (path,) = files.at_hand([stored])
    except (ExchangeError, StorageError) as error:
        raise Undecided(str(error)) from error
    return path


def digest_in(known: Instance) -> str:
    """The digest of an image's pixel values, if the ledger has one. Before 0.2 it also had other marks there."""
    return known.pixel_sha256 if known.pixel_sha256 and ":" not in known.pixel_sha256 else ""
