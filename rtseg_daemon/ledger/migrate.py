"""Bringing a database to this version's schema. `serve` alone does it, under the storage lock and after a backup."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from rtseg_daemon.errors import LedgerError

SCRIPTS = Path(__file__).parent / "migrations"


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
    """Raise LedgerError unless the database has exactly this version's schema."""
    found, wanted = current_revision(engine), newest_revision()
    if found is None:
        raise LedgerError(f"{engine.url}: there is no ledger yet; start `rtseg-daemon serve` once")
    if found != wanted:
        _refuse_unknown(engine, found)
        raise LedgerError(f"{engine.url}: schema {found}, this version needs {wanted}; start `rtseg-daemon serve` once")


def needs_upgrade(engine: Engine) -> bool:
    """Whether `upgrade` would change anything. Raises LedgerError for a schema newer than this version knows."""
    found = current_revision(engine)
    if found is not None:
        _refuse_unknown(engine, found)
    return found != newest_revision()


def upgrade(engine: Engine) -> None:
    """Bring the database to the newest revision, in one transaction. Raises LedgerError for a newer schema."""
    if needs_upgrade(engine):
        with engine.execution_options(write=True).begin() as connection:
            command.upgrade(alembic_config(connection), "head")


def _refuse_unknown(engine: Engine, found: str) -> None:
    if not is_known(found):
        raise LedgerError(
            f"{engine.url}: schema {found} is newer than this version of the daemon; install the newer one"
        )


def is_known(revision: str) -> bool:
    """Whether this version has a schema of that name, its own or an older one."""
    scripts = ScriptDirectory.from_config(alembic_config()).walk_revisions()
    return revision in {script.revision for script in scripts}
