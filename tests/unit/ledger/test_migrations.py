"""The scripts make what the models say, in both databases."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.migrate import alembic_config, current_revision, newest_revision, upgrade
from rtseg_daemon.ledger.schema import Base


@pytest.fixture
def url(ledger_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Of an empty database."""
    if ledger_kind == "sqlite":
        return f"sqlite:///{tmp_path / 'a.db'}"
    found: str = request.getfixturevalue("postgres").new_database()
    return found


def test_the_migrations_make_exactly_the_schema_of_the_models(url: str) -> None:
    engine = open_ledger(url)
    assert current_revision(engine) is None
    upgrade(engine)
    assert current_revision(engine) == newest_revision()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_a_job_that_is_there_keeps_its_row_when_leases_come(url: str) -> None:
    engine = open_ledger(url)
    with engine.execution_options(write=True).begin() as connection:
        command.upgrade(alembic_config(connection), "0011")
        for statement in (
            "INSERT INTO series (id, series_instance_uid, study_instance_uid, patient_id, modality, calling_ae, "
            "calling_host, body_part, description, state, reasons, releasable, first_received_at, last_received_at, "
            "updated_at) VALUES (1, '1.2', '1', 'p', 'CT', '', '', '', '', 'COMPLETE', '[]', true, 1, 1, 1)",
            "INSERT INTO job (id, series_id, last_instance_id, bundle, route, run, no_send, state, releasable, "
            "attempts, lease_owner, beats, verdicts, rois, flags, seconds, created_at, updated_at) VALUES (7, 1, 1, "
            "'tiny', 'all', 1, false, 'RUNNING', true, 1, 'worker-0-11', 3, '[]', '[]', '{}', '{}', 1, 1)",
        ):
            connection.exec_driver_sql(statement)
    upgrade(engine)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT id, lease_owner, lease_token, lease_until, attempts FROM job")).one()
    assert tuple(row) == (7, "worker-0-11", 0, None, 1)
    engine.dispose()
