"""The case's page when something is not as it was: files gone or altered, rows of an older version, a job that goes."""

import json
import sqlite3
from contextlib import closing

from sqlalchemy import delete, event, text
from sqlalchemy.engine import Engine

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.schema import Delivery, Instance, Job
from rtseg_daemon.ledger.states import InstanceState
from rtseg_daemon.logs import configure
from rtseg_daemon.web.place import Place
from tests.dashboard import logged_in
from tests.filled import store_images, store_result

JOB = 12


def page(place: Place, path: str = f"/cases/{JOB}") -> str:
    answer = logged_in(place, Role.PHYSICIST).get(path)
    assert answer.status_code == 200
    return answer.text


def test_a_missing_structure_set_is_told_with_what_to_do(own: Place) -> None:
    text = page(own)
    assert f"results/{JOB}/RTSTRUCT.dcm is missing; `rtseg-daemon jobs rerun {JOB}`" in text
    assert "data-viewer" not in text, "nothing is shown of a case that is not whole"


def test_an_altered_structure_set_is_told_with_what_to_do(own: Place) -> None:
    store_result(own.layout, JOB, b"other")
    assert f"RTSTRUCT.dcm was altered (digest differs); `rtseg-daemon jobs rerun {JOB}`" in page(own)


def test_an_image_that_is_missing_is_told_and_one_that_was_altered_is_found_among_the_files(own: Place) -> None:
    store_result(own.layout, JOB)
    assert f"series/{JOB}/{JOB}.dcm is missing; have the series sent again" in page(own)
    image = store_images(own.layout, JOB)
    assert "was altered (size differs); have the series sent again" in page(own)
    image.write_bytes(b"x" * 525_000)
    assert "have the series sent again" not in page(own), "what has its size is not read for the page"
    assert "was altered (digest differs); have the series sent again" in page(own, f"/cases/{JOB}/files")


def test_images_that_retention_removed_are_no_damage(own: Place) -> None:
    store_result(own.layout, JOB)
    with writing(own.engine) as session:
        session.query(Instance).filter_by(series_id=JOB).update({"state": InstanceState.REMOVED})
    text = page(own)
    assert "have the series sent again" not in text
    assert "removed by retention" in text


def strip_new_keys(engine: Engine) -> None:
    """The job's organs as an older version stored them."""
    with writing(engine) as session:
        rois = session.get_one(Job, JOB).rois
        old = [
            {key: value for key, value in roi.items() if key not in ("interval", "slices", "reasons")}
            | {"comment": 'REVIEW vvc=0.142 entropy=0.31 dice=0.78[0.69-0.85] slices=41-47 reason="members disagree"'}
            for roi in rois
        ]
        session.execute(text("UPDATE job SET rois = :rois WHERE id = :id"), {"rois": json.dumps(old), "id": JOB})


def test_a_row_of_an_older_version_shows_interval_slices_and_reason_too(own: Place) -> None:
    strip_new_keys(own.engine)
    found = page(own)
    assert 'data-slices="41-47"' in found
    assert "0.69–0.85" in found
    assert "members disagree" in found


def test_a_job_that_goes_while_it_is_looked_at_is_told_in_a_sentence(own: Place) -> None:
    somebody = logged_in(own, Role.PHYSICIST)
    assert somebody.get(f"/cases/{JOB}").status_code == 200
    with writing(own.engine) as session:
        session.execute(delete(Delivery).where(Delivery.job_id == JOB))
        session.execute(delete(Job).where(Job.id == JOB))
    answer = somebody.get(f"/cases/{JOB}")
    assert answer.status_code == 404
    assert f"There is no job {JOB}" in answer.text


def test_a_locked_ledger_is_told_with_503_and_nothing_is_done(own: Place) -> None:
    event.listen(own.engine, "connect", lambda connection, _record: connection.execute("PRAGMA busy_timeout=50"))
    configure(own.config.logging, "web")
    own.engine.dispose()  # the next connections have less patience
    somebody = logged_in(own, Role.PHYSICIST)
    with closing(sqlite3.connect(own.layout.directory / "rtseg.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        answer = somebody.post("/cases/11/cancel", data={"why": "sent twice"})
    assert answer.status_code == 503
    assert "ledger cannot be used now, and nothing was changed: database is locked" in answer.text
    assert "CANCELLED" not in page(own, "/cases/11")


def test_a_newer_ledger_is_told_with_503_on_every_page(own: Place) -> None:
    somebody = logged_in(own, Role.PHYSICIST)
    with writing(own.engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        session.execute(text("UPDATE setting SET value = '9999' WHERE key = 'works_with_since'"))
    for path in ("/", "/worklist", "/cases", f"/cases/{JOB}", "/quality", "/audit", "/about"):
        answer = somebody.get(path)
        assert answer.status_code == 503, path
        assert "schema 9999" in answer.text


def test_a_look_at_a_case_is_in_its_events_once(own: Place) -> None:
    somebody = logged_in(own, Role.VIEWER, "vera")
    for path in (f"/cases/{JOB}", f"/cases/{JOB}", f"/cases/{JOB}/files"):
        assert somebody.get(path).status_code == 200
    with reading(own.engine) as session:
        assert [one.who for one in events_of(session, "job", JOB) if one.what == "viewed"].count("vera") == 1
