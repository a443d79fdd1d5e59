"""What becomes another host's: images, jobs, associations and sets of a host that has a new name, or had none."""

from collections.abc import Callable

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.cluster_tables import Host
from rtseg_daemon.ledger.events import record_event
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.leases import database_time
from rtseg_daemon.ledger.orphans import requeue_own
from rtseg_daemon.ledger.schema import IncomingAssociation, Instance, Job
from rtseg_daemon.ledger.states import Ending, InstanceState
from rtseg_daemon.ledger.supervision import forget_processes

Holds = Callable[[str], bool]
"""Whether a file of the ledger, by its path there, lies in this host's own storage."""


def mark_of(name: str, address: str) -> str:
    """What a host's rows say of whose they are. One that has no address works alone, and leaves them without a name."""
    return name if address else ""


def hand_over(session: Session, old: str, new: str) -> None:
    """Every row of the host `old` is the host's `new`, by their marks. What it was receiving has broken off."""
    if old == new:
        return
    receiving = IncomingAssociation.host == old, IncomingAssociation.ending == Ending.OPEN
    died = {"ending": Ending.DIED, "ended_at": database_time(session)}
    session.execute(update(IncomingAssociation).where(*receiving).values(**died))
    for table in (Instance, Job, IncomingAssociation, ReturnedSet):
        session.execute(update(table).where(table.host == old).values(host=new))


def has_images_of(session: Session, host: str, holds: Holds) -> bool:
    """Whether the newest image with this mark lies here. True where there is none."""
    kept = select(Instance.path).where(Instance.host == host, Instance.state == InstanceState.KEPT)
    newest = session.scalar(kept.order_by(Instance.id.desc()).limit(1))
    return newest is None or holds(newest)


def inherit(session: Session, old: Host, name: str, address: str) -> None:
    """The host `old` has another name now. None of its workers is left."""
    hand_over(session, mark_of(old.name, old.address), mark_of(name, address))
    requeue_own(session, old.name)
    forget_processes(session, old.name)
    record_event(session, "daemon", None, "host renamed", detail={"from": old.name, "to": name})
    session.delete(old)
    session.flush()
