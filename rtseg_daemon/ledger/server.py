"""Whether a PostgreSQL server and database can hold a ledger: asked before the first start, and by `doctor`."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, text

from rtseg_daemon.errors import LedgerError

OLDEST = 13
LARGEST_DIFFERENCE_SECONDS = 5.0
FACTS = text(
    "SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int / 10000 AS major, "
    "current_setting('server_encoding') AS encoding, current_database() AS database, current_user AS account, "
    "current_schema() AS schema, current_schema() IS NOT NULL AND "
    "coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create, "
    "EXISTS (SELECT FROM pg_class JOIN pg_namespace AS place ON place.oid = relnamespace WHERE relkind = 'r' AND "
    "place.nspname = current_schema() AND NOT pg_has_role(relowner, 'USAGE')) AS strangers_tables, "
    "pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only, "
    "current_setting('fsync') = 'on' AS durable, extract(epoch FROM clock_timestamp())::float8 AS at"
)


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself. `ahead_seconds` is its clock less this machine's."""

    version: str
    major: int
    encoding: str
    database: str
    account: str
    schema: str | None
    may_create: bool
    strangers_tables: bool
    read_only: bool
    durable: bool
    ahead_seconds: float


def facts_of(engine: Engine) -> ServerFacts:
    """Raises SQLAlchemyError where nothing answers."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))  # so that the clocks are compared over one short round trip
        before = time.time()
        row = dict(connection.execute(FACTS).one()._mapping)
        middle = (before + time.time()) / 2
    return ServerFacts(**{key: value for key, value in row.items() if key != "at"}, ahead_seconds=row["at"] - middle)


def faults(facts: ServerFacts) -> Iterator[str]:
    """A sentence for everything because of which it cannot hold a ledger."""
    if facts.major < OLDEST:
        yield f"the server is PostgreSQL {facts.version}; version {OLDEST} or newer is needed"
    if facts.encoding != "UTF8":
        yield (
            f"database {facts.database} has the encoding {facts.encoding}, which cannot hold every patient's name; "
            f"make one with `CREATE DATABASE {facts.database} ENCODING 'UTF8' TEMPLATE template0`"
        )
    if facts.read_only:
        yield "the server takes no changes (a standby, or default_transaction_read_only); name the primary server"
    elif not facts.may_create:
        yield (
            f"user {facts.account} may not make tables in database {facts.database}; make the user its owner: `ALTER "
            f"DATABASE {facts.database} OWNER TO {facts.account}`"
        )
    elif facts.strangers_tables:
        yield (
            f"database {facts.database} has tables that belong to another user than {facts.account}; name their owner "
            f"in database.url, or give them to this user: `REASSIGN OWNED BY ... TO {facts.account}`"
        )


def doubts(facts: ServerFacts) -> Iterator[str]:
    """A sentence for what should be otherwise, though it works."""
    if not facts.durable:
        yield "the server has fsync = off: after a power cut what was acknowledged may be lost; set fsync = on"
    if abs(facts.ahead_seconds) > LARGEST_DIFFERENCE_SECONDS:
        how = "ahead of" if facts.ahead_seconds > 0 else "behind"
        yield (
            f"the database server's clock is {abs(facts.ahead_seconds):.0f} s {how} this machine's; let both follow "
            "one time server (leases are timed by the database alone)"
        )


def require_fit(engine: Engine) -> None:
    """Raise LedgerError where a PostgreSQL database cannot hold a ledger, naming every fault."""
    if engine.dialect.name == "postgresql" and (found := list(faults(facts_of(engine)))):
        raise LedgerError(f"{engine.url}: {'; '.join(found)}")


def in_words(facts: ServerFacts) -> str:
    """One line on what answers."""
    return f"PostgreSQL {facts.version}, database {facts.database}, user {facts.account}"
