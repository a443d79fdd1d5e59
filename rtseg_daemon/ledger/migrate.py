"""Bringing a database to this version's schema. `serve` alone does it, under the storage lock and after a backup."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, delete, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from rtseg_daemon.errors import LedgerError
from rtseg_daemon.ledger.schema import Setting

SCRIPTS = Path(__file__).parent / "migrations"
TOLERATED = "0013"
"""The oldest schema whose daemons may work on beside this version's: the migrations since then only add. One that takes
away or changes what is there raises this to its own number. Versions read it since schema 0014. One at 0013 works
on, and is refused when it is started again."""
TOLERATED_KEY = "works_with_since"
"""Where the ledger says so, to versions that do not know its schema."""


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str | None:
    """The revision that this version of the daemon works with."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def current_revision(engine: Engine) -> str | None:
    """The database's revision, or None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def require_current(engine: Engine) -> None:
    """Raise LedgerError unless the database has this version's schema, or a newer one that tolerates this version."""
    found = current_revision(engine)
    if found is None:
        raise LedgerError(f"{engine.url}: there is no ledger yet; start `rtseg-daemon serve` once")
    if is_older(engine, found):
        wanted = newest_revision()
        raise LedgerError(f"{engine.url}: schema {found}, this version needs {wanted}; start `rtseg-daemon serve` once")


def require_own(engine: Engine) -> None:
    """Raise LedgerError unless the database has exactly this version's schema."""
    require_current(engine)
    found, wanted = current_revision(engine), newest_revision()
    if found != wanted:
        raise LedgerError(f"{engine.url}: schema {found}, this version knows {wanted}; install the newer one for this")


def needs_upgrade(engine: Engine) -> bool:
    """Whether `upgrade` would change anything. Raises LedgerError for a newer schema that does not tolerate this
    version."""
    found = current_revision(engine)
    return found is None or is_older(engine, found)


def is_older(engine: Engine, found: str) -> bool:
    """Whether a ledger's schema is an older one. Raises LedgerError as `needs_upgrade` does."""
    if is_known(found):
        return found != newest_revision()
    if not tolerates_us(engine, found):
        raise LedgerError(
            f"{engine.url}: schema {found} is newer than this version of the daemon; install the newer one"
        )
    return False


def tolerates_us(engine: Engine, found: str) -> bool:
    """Whether a ledger, whose schema `found` is unknown, is newer and says that this version may work on with it."""
    own = newest_revision() or ""
    if found < own:
        return False
    try:
        with Session(engine) as session:
            told = session.get(Setting, TOLERATED_KEY)
    except DBAPIError:  # a schema so new that it has no such table
        return False
    return told is not None and told.value <= own


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest revision, in one transaction. Raises LedgerError as `needs_upgrade`."""
    if needs_upgrade(engine):
        with engine.execution_options(write=True).begin() as connection:
            command.upgrade(alembic_config(connection), "head")
            connection.execute(delete(Setting).where(Setting.key == TOLERATED_KEY))
            connection.execute(insert(Setting).values(key=TOLERATED_KEY, value=TOLERATED))


def is_known(revision: str) -> bool:
    """Whether this version has a schema of that name, its own or an older one."""
    scripts = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    return revision in {script.revision for script in scripts}
