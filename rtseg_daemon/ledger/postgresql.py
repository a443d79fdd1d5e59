"""A ledger in a PostgreSQL database: one writer at a time, commits that last, connections that notice their end.

SQLite's BEGIN IMMEDIATE lets one transaction write at a time. The ledger relies on it everywhere: what a block has read
is still true when it writes, and numbers grow in the order of the commits. Here one advisory lock gives the same. Every
transaction that writes takes it first, and holds it to its end.
"""

import json
from functools import cache
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, make_url

WRITERS = 0x72747365676C
"""The lock that a transaction that writes holds, by its number: `rtsegl` in ASCII. Locks belong to one database."""
LOCK_WAIT_SECONDS = 30
LONGEST_IDLE_SECONDS = 60
"""Between two statements of a writer. A host that vanished while it held the lock keeps others waiting no longer."""
BEGIN_WRITING = (
    f"SELECT set_config('idle_in_transaction_session_timeout', '{LONGEST_IDLE_SECONDS}s', true), "
    f"pg_advisory_xact_lock({WRITERS})"
)
ADVICE = (
    "write sqlite:////FOLDER/rtseg.db or postgresql://USER@HOST/DATABASE (pip install 'rtseg-daemon[postgresql]'), or "
    "leave it out"
)
OPTIONS = {
    "pool_pre_ping": True,  # one small round trip, so that a connection that ended overnight costs no image
    # whatever the server's default is: a statement must see what was committed before the lock was given
    "isolation_level": "READ COMMITTED",
}
CONNECTION = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # ms until data that nobody confirms ends the connection
    "application_name": "rtseg-daemon",
    "client_encoding": "utf8",  # without it a database in SQL_ASCII cannot even be asked
}
"""What libpq is told, unless the URL says otherwise."""
SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""How a reader's transaction is begun."""
DURABLE = (
    "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END"
)
SETTINGS = {
    "synchronous_commit": DURABLE,  # acknowledged is on disk. A stricter setting of the site's stays
    "lock_timeout": f"'{LOCK_WAIT_SECONDS}s'",
    "tcp_keepalives_idle": "'10'",
    "tcp_keepalives_interval": "'5'",
    "tcp_keepalives_count": "'3'",
}


def with_driver(url: str | URL) -> URL:
    """The URL with psycopg as the driver, where it names PostgreSQL alone. Raises ArgumentError for what is none."""
    parsed = make_url(url)
    plain = parsed.drivername in ("postgresql", "postgres")
    return parsed.set(drivername="postgresql+psycopg") if plain else parsed


def is_meant(url: URL) -> bool:
    """Whether the URL is that of a PostgreSQL database."""
    return url.get_backend_name() == "postgresql"


def options_for(url: URL) -> dict[str, Any]:
    """The arguments of `create_engine` for a PostgreSQL database."""
    connection = {key: value for key, value in CONNECTION.items() if key not in url.query}
    return OPTIONS | {"json_serializer": json_without_nul, "connect_args": connection}


def json_without_nul(value: Any) -> str:
    """JSON that PostgreSQL can also look into: see `without_nul`."""
    return json.dumps(value).replace("\\u0000", "\\ufffd")


def prepare(engine: Engine) -> None:
    """Let every connection have the settings above, and every transaction that writes the writers' lock."""
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)


def be_impatient(engine: Engine, seconds: int) -> None:
    """Let every connection wait at most so long for the writers' lock."""

    def set_up(connection: Any, _record: Any) -> None:
        _set(connection, {"lock_timeout": f"'{seconds}s'"})

    event.listen(engine, "connect", set_up)


def _set_up(connection: Any, _record: Any) -> None:
    _set(connection, SETTINGS)
    connection.adapters.register_dumper(str, without_nul())


@cache
def without_nul() -> type:
    """How psycopg writes a text. Strangers' texts may hold NUL, which PostgreSQL's cannot: it becomes U+FFFD."""
    # psycopg, which one machine with SQLite does not have
    from psycopg.types.string import StrDumper

    class WithoutNul(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    return WithoutNul


def _set(connection: Any, settings: dict[str, str]) -> None:
    calls = ", ".join(f"set_config('{name}', {value}, false)" for name, value in settings.items())
    connection.execute(f"SELECT {calls}")
    connection.commit()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("write", False):
        connection.exec_driver_sql(BEGIN_WRITING)
