"""Structure sets that came back and that a restored ledger does not know: entered at the start, and never lost."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete

from rtseg_daemon.daemon.compared import compare_storage
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.returned import Came, enter
from rtseg_daemon.upkeep import doctor
from tests.clinic import Clinic


@pytest.fixture
def clinic(tmp_path: Path, ledger: Engine) -> Clinic:
    return Clinic(tmp_path, ledger)


def found(clinic: Clinic) -> list[str]:
    findings = doctor.examine(clinic.ledger, clinic.loop.desk.config, repair=False)
    return [one.kind for one in findings if "returned" in one.subject]


def test_a_set_that_the_ledger_forgot_is_entered_and_worked_on_again(clinic: Clinic) -> None:
    row = clinic.comes_back(clinic.deliver().edited())
    with writing(clinic.ledger) as session:
        session.execute(delete(ReturnedRoi))
        session.execute(delete(ReturnedSet))
    assert found(clinic) == ["unknown"]
    compare_storage(clinic.ledger, clinic.layout)
    clinic.work()
    again = clinic.row(row.id)
    assert (again.sha256, again.came_by, again.state) == (row.sha256, "found", "MEASURED")
    assert found(clinic) == []
    compare_storage(clinic.ledger, clinic.layout)
    with writing(clinic.ledger) as session:
        assert session.query(ReturnedSet).count() == 1


def test_each_host_takes_the_sets_whose_files_it_has_where_their_rows_name_no_host(clinic: Clinic) -> None:
    """So daemons of several hosts wrote them before, and go on in a rolling upgrade."""
    row = clinic.comes_back(clinic.deliver().edited())
    assert row.host == ""
    with writing(clinic.ledger) as session:
        enter(session, Came("1.2", "0" * 64, "returned/2026-01-31/x.dcm", 1, "TPS", "127.0.0.1", "store"))
        enter(session, Came("1.3", "1" * 64, "", 1, "TPS", "127.0.0.1", "store"))
    compare_storage(clinic.ledger, clinic.layout)
    assert clinic.row(row.id).host == ""
    compare_storage(clinic.ledger, replace(clinic.layout, host="north"))
    with reading(clinic.ledger) as session:
        assert [one.host for one in session.query(ReturnedSet).order_by(ReturnedSet.id)] == ["north", "", ""]


def test_doctor_tells_of_a_set_that_is_gone_or_altered(clinic: Clinic) -> None:
    row = clinic.comes_back(clinic.deliver().edited())
    path = clinic.layout.directory / row.path
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert found(clinic) == ["returned"]
    path.unlink()
    assert found(clinic) == ["returned"]
