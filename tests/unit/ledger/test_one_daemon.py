"""Two daemons never work on one ledger."""

import pytest
from sqlalchemy import Engine

from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.one_daemon import HEARD_SECONDS, leave, take


def test_a_second_daemon_is_refused_by_name_until_the_first_has_ended_or_is_long_gone(ledger: Engine) -> None:
    with writing(ledger) as session:
        take(session, "ct-a", "/var/lib/rtseg", at=100.0)
        take(session, "ct-a", "/var/lib/rtseg", at=110.0)  # it lives, or was started again
    for host, storage in (("ct-b", "/var/lib/rtseg"), ("ct-a", "/srv/other")):
        with (
            writing(ledger) as session,
            pytest.raises(
                LedgerError, match=r"the daemon of host ct-a \(/var/lib/rtseg\) works on this ledger, heard of 20 s ago"
            ),
        ):
            take(session, host, storage, at=130.0)
    with writing(ledger) as session:
        take(session, "ct-b", "/var/lib/rtseg", at=110.0 + HEARD_SECONDS)
    with writing(ledger) as session, pytest.raises(LedgerError, match="host ct-b"):
        take(session, "ct-a", "/var/lib/rtseg", at=111.0 + HEARD_SECONDS)
    with writing(ledger) as session:
        leave(session)
        take(session, "ct-a", "/var/lib/rtseg")
