"""Opening the ledger, and the two ways to use it: reading and writing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger import postgresql, sqlite_file


def open_ledger(url: str | URL, *, existing: bool = False) -> Engine:
    """Engine for `url`, an SQLite file or a PostgreSQL database.

    Each process opens its own. No session may cross a thread. Opening does not create or migrate anything
    (`ledger.migrate.upgrade` does). Raises ConfigError for a URL that is none. With `existing` an SQLite file must be
    there at the first connection. What each database is asked for: `sqlite_file.prepare`, `postgresql.prepare`.
    """
    try:
        parsed = postgresql.with_driver(url)
        engine = create_engine(parsed, **(postgresql.options_for(parsed) if postgresql.is_meant(parsed) else {}))
    except (SQLAlchemyError, ImportError) as error:
        raise ConfigError(f"database.url is no database that can be opened ({error}); {postgresql.ADVICE}") from error
    if postgresql.is_meant(engine.url):
        postgresql.prepare(engine)
    elif engine.dialect.name == "sqlite":
        sqlite_file.prepare(engine, existing=existing)
    else:
        raise ConfigError(f"database.url names {engine.dialect.name}, which cannot hold a ledger; {postgresql.ADVICE}")
    return engine


def be_impatient(engine: Engine, seconds: int) -> None:
    """Let whoever writes wait at most so long for others that do."""
    (postgresql if postgresql.is_meant(engine.url) else sqlite_file).be_impatient(engine, seconds)


ASK_FIRST = "ask_first"


def asking_first(engine: Engine, ask: Callable[[Session], None]) -> Engine:
    """The same ledger for somebody who may use it under a condition: each block begins with `ask`, which may raise."""
    return engine.execution_options(**{ASK_FIRST: ask})


def _ask_first(engine: Engine, session: Session) -> None:
    ask: Callable[[Session], None] | None = engine.get_execution_options().get(ASK_FIRST)
    if ask is not None:
        ask(session)


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A session whose transaction commits at the end of the block and is rolled back by an exception.

    One transaction at a time writes a ledger, whichever database holds it. So a block may read, decide and write.
    """
    with Session(engine.execution_options(write=True), expire_on_commit=False) as session, session.begin():
        _ask_first(engine, session)
        yield session


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that sees one snapshot and changes nothing."""
    options = postgresql.SNAPSHOT if postgresql.is_meant(engine.url) else {}
    with Session(engine.execution_options(**options), expire_on_commit=False, autoflush=False) as session:
        _ask_first(engine, session)
        yield session


def still_ours(engine: Engine) -> None:
    """Before something that the ledger cannot take back: raises DutyLost where another host does this work by now."""
    with reading(engine):
        pass


def can_be_read(engine: Engine) -> None:
    """Look into the ledger. Raises SQLAlchemyError where that is not possible, and waits as long as its disk does."""
    with reading(engine) as session:
        session.execute(text("SELECT count(*) FROM setting"))
