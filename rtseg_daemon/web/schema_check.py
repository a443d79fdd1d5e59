"""Nothing is shown from a ledger that another version has changed meanwhile, and nothing is written into it.

What its columns mean is unknown, unless it says that this version may work on.
"""

from functools import lru_cache

from sqlalchemy import Engine, text

from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.migrate import is_known, newest_revision, tolerates_us
from rtseg_daemon.web.place import Here


@lru_cache(maxsize=1)
def own_revision() -> str | None:
    """The schema that this version works with. It does not change while a process lives."""
    return newest_revision()


def known_schema(place: Here) -> None:
    """Raise LedgerError where the ledger has another schema than this version's."""
    refuse_other_schema(place.engine)


def refuse_other_schema(engine: Engine) -> None:
    """Raise LedgerError for such a ledger, SQLAlchemyError for one that cannot be read."""
    with reading(engine) as session:
        found = session.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found != own_revision() and (found is None or is_known(found) or not tolerates_us(engine, found)):
        raise LedgerError(
            f"the ledger has schema {found}, and this version of the dashboard needs {own_revision()}; "
            "restart the service, with the version that the ledger was made for"
        )
