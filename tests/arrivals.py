"""An object that enters the ledger without a receiver."""

from sqlalchemy.orm import Session

from rtseg_daemon.ledger.arrivals import Arrival
from rtseg_daemon.ledger.reception import Recorded, enter
from rtseg_daemon.ledger.recognition import recognise


def receive(session: Session, arrival: Arrival) -> Recorded:
    """Recognise and enter it, as the receiver does."""
    return enter(session, arrival, recognise(session, arrival))
