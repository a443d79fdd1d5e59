"""What a test of duties needs: another host that takes one over."""

from sqlalchemy import Engine

from rtseg_daemon.ledger.cluster_tables import Duty
from rtseg_daemon.ledger.duties import take
from rtseg_daemon.ledger.engine import writing


def take_over(ledger: Engine, name: str, owner: str = "south/1") -> int:
    """As after the time of its owner. Returns the new token."""
    with writing(ledger) as session:
        session.get_one(Duty, name).until = 0.0
        session.flush()
        token = take(session, name, owner)
        assert token is not None
        return token
