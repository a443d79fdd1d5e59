"""Which PostgreSQL server and database may hold a ledger. Each fault is a sentence."""

from dataclasses import replace

import pytest
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.errors import ConfigError, LedgerError
from rtseg_daemon.ledger.engine import can_be_read, open_ledger
from rtseg_daemon.ledger.loss import hindrance, is_lost_connection, loss
from rtseg_daemon.ledger.server import doubts, facts_of, faults, in_words, require_fit
from tests.postgres import Server


def test_a_server_of_this_kind_is_fit(postgres: Server) -> None:
    engine = open_ledger(postgres.new_database())
    facts = facts_of(engine)
    require_fit(engine)
    assert abs(facts.ahead_seconds) < 2
    assert in_words(facts) == f"PostgreSQL {facts.version}, database {facts.database}, user rtseg"
    assert list(doubts(facts)) == [
        "the server has fsync = off: after a power cut what was acknowledged may be lost; set fsync = on"
    ]
    old = replace(facts, major=12, version="12.3", read_only=True, durable=True, ahead_seconds=-200.0)
    assert list(faults(old)) == [
        "the server is PostgreSQL 12.3; version 13 or newer is needed",
        "the server takes no changes (a standby, or default_transaction_read_only); name the primary server",
    ]
    assert next(doubts(old)).startswith("the database server's clock is 200 s behind this machine's")
    engine.dispose()


def test_another_encoding_is_refused(postgres: Server) -> None:
    url = postgres.new_database("ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    engine = open_ledger(url)
    with pytest.raises(LedgerError, match="has the encoding LATIN1, which cannot hold every patient's name"):
        require_fit(engine)
    engine.dispose()


def test_a_user_without_rights_is_refused(postgres: Server) -> None:
    url = postgres.new_database()
    postgres.do("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    owner = open_ledger(url)
    with owner.begin() as connection:
        connection.exec_driver_sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    owner.dispose()
    engine = open_ledger(url.replace("rtseg@", "guest@"))
    with pytest.raises(LedgerError, match=r"user guest may not make tables in database .*ALTER DATABASE .* OWNER TO"):
        require_fit(engine)
    engine.dispose()


def test_a_user_whom_the_tables_do_not_belong_to_is_refused(postgres: Server) -> None:
    """Who may make tables may still not read those of somebody else, and could not migrate them."""
    url = postgres.new_ledger()
    postgres.do("DROP ROLE IF EXISTS successor", "CREATE ROLE successor LOGIN")
    owner = open_ledger(url)
    with owner.begin() as connection:
        connection.exec_driver_sql("GRANT CREATE ON SCHEMA public TO successor")
    engine = open_ledger(url.replace("rtseg@", "successor@"))
    with pytest.raises(LedgerError, match="has tables that belong to another user than successor; name their owner"):
        require_fit(engine)
    with owner.begin() as connection:
        connection.exec_driver_sql("GRANT rtseg TO successor")
    require_fit(engine)
    with owner.begin() as connection:
        connection.exec_driver_sql("REVOKE rtseg FROM successor; REVOKE CREATE ON SCHEMA public FROM successor")
    for one in (engine, owner):
        one.dispose()


def test_a_server_that_takes_no_changes_is_refused(postgres: Server) -> None:
    url = postgres.new_database()
    name = url.rpartition("/")[0] and url.split("@/")[1].partition("?")[0]
    postgres.do(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    engine = open_ledger(url)
    with pytest.raises(LedgerError, match="the server takes no changes"):
        require_fit(engine)
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "database.url is no database that can be opened"),
        ("mysql://a@b/c", "database.url"),
        ("oracle+nothing://a@b/c", "database.url is no database that can be opened"),
    ],
)
def test_a_url_that_is_none_is_told_with_what_to_write(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        open_ledger(url)
    assert "write sqlite:////FOLDER/rtseg.db or postgresql://USER@HOST/DATABASE" in str(raised.value)


def test_a_server_that_does_not_answer_is_told_in_one_line(postgres: Server) -> None:
    for url, words in (
        ("postgresql://a@127.0.0.1:1/x", "Connection refused"),
        (postgres.url("nowhere"), 'database "nowhere" does not exist'),
        (postgres.url(user="stranger"), 'role "stranger" does not exist'),
    ):
        engine = open_ledger(url)
        with pytest.raises(SQLAlchemyError) as raised:
            can_be_read(engine)
        assert words in hindrance(raised.value)
        assert "\n" not in hindrance(raised.value)
        assert is_lost_connection(raised.value)
        assert loss(raised.value) is None, "somebody may mend it while the daemon waits"


def test_the_urls_password_is_in_no_sentence() -> None:
    assert "secret" not in f"{open_ledger('postgresql://rtseg:secret@db/rtseg').url}"
