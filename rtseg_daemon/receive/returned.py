"""A structure set that comes back from a planning system: durable and in the ledger before it is answered.

It is kept as it came. Whatever is wrong inside, a person made it once and may not be able to send it again.
"""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from rtseg_daemon.ledger import returned
from rtseg_daemon.ledger.returned import Came
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.receive.store import ObjectStore, Spool


@dataclass(frozen=True)
class Kept:
    """What became of it: its number, the path that its file now has (empty where one was there), whether it is new."""

    set_id: int
    path: str
    new: bool


def enter(session: Session, store: ObjectStore, sender: Sender, spool: Spool, sop_instance: str) -> Kept:
    """Name the file and enter it, in the writer's thread and transaction.

    The same bytes again only mend a file that was lost or altered.
    """
    came = Came(sop_instance, spool.sha256, "", spool.size, sender.calling_ae, sender.host, "store")
    row = returned.known(session, sop_instance, spool.sha256)
    if row is not None:
        returned.note_again(session, row, came)
        if store.intact(row.path, row.sha256):
            return Kept(row.id, "", new=False)
        row.path = store.place_in(store.layout.returned, spool)
        return Kept(row.id, row.path, new=False)
    path = store.place_in(store.layout.returned, spool)
    row = returned.enter(session, Came(**(vars(came) | {"path": path})))
    return Kept(row.id, path, new=True)
