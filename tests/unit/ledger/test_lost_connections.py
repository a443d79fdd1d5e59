"""What becomes of a ledger whose server ends connections, is restarted, or lets a writer wait."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.ledger.engine import be_impatient, can_be_read, open_ledger, reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.loss import hindrance, is_lost_connection, loss
from rtseg_daemon.ledger.schema import Alarm, Setting
from tests.postgres import Server


@pytest.fixture
def ledger_kind() -> str:
    return "postgresql"


def keys(ledger: Engine) -> list[str]:
    with reading(ledger) as session:
        return [row.key for row in session.query(Setting).order_by(Setting.key)]


def put(ledger: Engine, key: str) -> None:
    with writing(ledger) as session:
        session.add(Setting(key=key, value="x"))


def test_a_connection_killed_in_mid_transaction_commits_nothing_and_the_next_one_works(
    ledger: Engine, postgres: Server
) -> None:
    def lose() -> None:
        with writing(ledger) as session:
            session.add(Setting(key="lost", value="x"))
            session.flush()
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            postgres.do(f"SELECT pg_terminate_backend({pid})")

    with pytest.raises(SQLAlchemyError) as raised:
        lose()
    assert is_lost_connection(raised.value)
    assert hindrance(raised.value) == "terminating connection due to administrator command"
    put(ledger, "next")
    assert keys(ledger) == ["next"]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_was_restarted_is_used_again_without_an_error(
    ledger: Engine, postgres: Server, mode: str
) -> None:
    put(ledger, "before")
    postgres.stop(mode)
    with pytest.raises(SQLAlchemyError) as raised:
        can_be_read(ledger)
    assert is_lost_connection(raised.value)
    assert "failed" in hindrance(raised.value)
    assert loss(raised.value) is None
    postgres.start()
    put(ledger, "after")
    assert keys(ledger) == ["after", "before"]


def test_commits_last_and_waits_end_whatever_the_server_was_set_to(ledger: Engine, postgres: Server) -> None:
    postgres.do(
        "ALTER ROLE rtseg SET synchronous_commit = off",
        "ALTER ROLE rtseg SET default_transaction_isolation = 'serializable'",
    )
    try:
        engine = open_ledger(ledger.url)
        with writing(engine) as session:
            shown = [
                session.scalar(text(f"SHOW {name}"))
                for name in (
                    "synchronous_commit",
                    "transaction_isolation",
                    "lock_timeout",
                    "idle_in_transaction_session_timeout",
                )
            ]
        engine.dispose()
    finally:
        postgres.do("ALTER ROLE rtseg RESET ALL")
    assert shown == ["on", "read committed", "30s", "1min"]


def test_a_writer_waits_for_another_and_not_for_ever(ledger: Engine) -> None:
    impatient = open_ledger(ledger.url)
    be_impatient(impatient, 1)
    with writing(ledger) as session:
        raise_alarm(session, "test", "first", "x")
        with pytest.raises(SQLAlchemyError) as raised:
            put(impatient, "second")
    assert hindrance(raised.value) == "canceling statement due to lock timeout"
    assert loss(raised.value) is None
    put(impatient, "second")
    impatient.dispose()


def test_a_reader_may_take_its_time_and_a_writer_that_vanished_may_not(ledger: Engine) -> None:
    shown = text("SHOW idle_in_transaction_session_timeout")
    with writing(ledger) as session:
        assert session.scalar(shown) == "1min"
    with reading(ledger) as session:
        assert session.scalar(shown) == "0", "the writer's limit ended with its transaction"


def test_a_message_of_the_server_is_told_without_the_values_of_a_statement(ledger: Engine) -> None:
    with writing(ledger) as session:
        raise_alarm(session, "test", "PATIENT", "x")
    with pytest.raises(SQLAlchemyError) as raised, writing(ledger) as session:
        session.add(Alarm(at=0.0, kind="test", key="PATIENT", message="y"))
    assert hindrance(raised.value) == 'duplicate key value violates unique constraint "alarm_key_key"'
    with pytest.raises(SQLAlchemyError) as raised, reading(ledger) as session:
        session.execute(text("SELECT 'PATIENT'::integer"))
    assert hindrance(raised.value) == "InvalidTextRepresentation"


def test_a_full_disk_at_the_server_is_told_and_waited_for(ledger: Engine) -> None:
    full = "could not extend file: No space left on device"
    with pytest.raises(SQLAlchemyError) as raised, writing(ledger) as session:
        session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION '{full}' USING ERRCODE = 'disk_full'; END $$"))
    assert hindrance(raised.value) == full
    assert loss(raised.value) is None
    assert not is_lost_connection(raised.value)


def test_tables_that_are_gone_are_a_loss_and_a_person_is_told_what_to_do(postgres: Server) -> None:
    engine = open_ledger(postgres.new_database())
    with pytest.raises(SQLAlchemyError) as raised:
        can_be_read(engine)
    assert 'the ledger is gone (relation "setting" does not exist); stop the daemon and restore the database' in (
        loss(raised.value) or ""
    )
    engine.dispose()
