"""A structure set that comes back from a planning system: durable and in the ledger before it is answered.

It is kept as it came. Whatever is wrong inside, a person made it once and may not be able to send it again.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.errors import InvalidDicomError
from sqlalchemy.orm import Session

from rtseg_daemon.ledger import returned
from rtseg_daemon.ledger.hosts import is_silent
from rtseg_daemon.ledger.returned import Came
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.receive.store import ObjectStore, Spool
from rtseg_daemon.receive.stored import stored
from rtseg_daemon.storage import Layout


@dataclass(frozen=True)
class Kept:
    """What became of it: its number, the path that its file now has (empty where one was there), whether it is new."""

    set_id: int
    path: str
    new: bool


def enter(session: Session, store: ObjectStore, sender: Sender, spool: Spool, sop_instance: str) -> Kept:
    """Name the file and enter it, in the writer's thread and transaction.

    The same bytes again only mend a file that was lost or altered, here or with its host.
    """
    came = Came(sop_instance, spool.sha256, "", spool.size, sender.calling_ae, sender.host, "store", store.layout.host)
    row = returned.known(session, sop_instance, spool.sha256)
    if row is not None:
        returned.note_again(session, row, came)
        here = store.layout.shared or row.host == store.layout.host
        if store.intact(row.path, row.sha256) if here else not is_silent(session, row.host):
            return Kept(row.id, "", new=False)
        row.host = store.layout.host
        row.path = store.place_in(store.layout.returned, spool)
        return Kept(row.id, row.path, new=False)
    path = store.place_in(store.layout.returned, spool)
    row = returned.enter(session, replace(came, path=path))
    return Kept(row.id, path, new=True)


def enter_found(session: Session, layout: Layout, path: Path) -> int | None:
    """Enter a file that the ledger does not know, as when an older ledger was put back; returns its number.

    None where it is not the file that was written under this name, or the ledger has the same object elsewhere.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with stored(path) as one:
            sop_instance = one.sop_instance
    except (OSError, InvalidDicomError):
        return None
    if sha256 != path.stem or returned.known(session, sop_instance, sha256) is not None:
        return None
    size, at = path.stat().st_size, path.stat().st_mtime
    came = Came(sop_instance, sha256, layout.relative(path), size, "", "", "found", layout.host)
    return returned.enter(session, came, at=at).id
