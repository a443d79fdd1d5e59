"""The newest cases are read before anyone asks for them, by the real reading process."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.web.place import Place
from rtseg_daemon.web.viewer import ahead as module
from rtseg_daemon.web.viewer.ahead import Ahead, newest_to_see
from rtseg_daemon.web.viewer.desk import Desk
from rtseg_daemon.web.viewer.subject import Subject, files_of, subject_of
from tests.dashboard import logged_in, make_place
from tests.synthetic import write_series
from tests.viewed import doubt_around, drawn_organ, stored_job, stored_series

SHAPE = (6, 20, 24)


class Stored:
    """A place with one series and as many results of it as are asked for."""

    def __init__(self, folder: Path) -> None:
        self.place: Place = make_place(folder)
        volume = Volume(np.zeros(SHAPE, np.int16), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))
        self.files = write_series(folder / "ct", volume)
        self.series = load_series(self.files)
        mask = np.zeros(SHAPE, bool)
        mask[2:4, 5:10, 6:12] = True
        self.organs = [drawn_organ("Parotid_L", mask, volume)]
        self.doubt = doubt_around(self.organs, volume)
        self.series_id = stored_series(self.place.engine, self.place.layout, self.files, self.series)
        self.desk = Desk(self.place.engine, self.place.layout, 0.0)
        self.ahead = Ahead(self.desk)

    def job(self, run: int = 1) -> int:
        place = self.place
        return stored_job(place.engine, place.layout, self.series_id, self.series, self.organs, self.doubt, run=run)

    def subject(self, job: int) -> Subject:
        return subject_of(self.place.engine, self.place.files, job)

    def change(self, job: int, **values: object) -> None:
        with writing(self.place.engine) as session:
            session.execute(update(Job).where(Job.id == job).values(**values))


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    made = Stored(tmp_path)
    yield made
    made.ahead.close()
    made.desk.close()


def test_a_new_result_is_read_once_and_the_reader_ends(stored: Stored) -> None:
    job = stored.job()
    stored.ahead.look()
    assert all(map(stored.desk.shelf.holds, stored.subject(job).keys))
    stored.desk.shelf.close()
    stored.ahead.look()
    assert not stored.desk.shelf.holds(stored.subject(job).ct_key)
    assert stored.ahead.reader._process is None


def test_held_cases_are_newest_too_and_running_and_shadow_jobs_are_not(stored: Stored) -> None:
    done, held, running, shadow = (stored.job(run) for run in (1, 2, 3, 4))
    stored.change(held, state=JobState.HELD, rtstruct_path=None)
    stored.change(running, state=JobState.RUNNING, rtstruct_path=None)
    stored.change(shadow, shadow=True)
    assert newest_to_see(stored.place.engine) == [held, done]


def test_only_the_newest_are_read(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [stored.job(run) for run in (1, 2, 3)]
    monkeypatch.setattr(module, "NEWEST", 2)
    assert newest_to_see(stored.place.engine) == [jobs[2], jobs[1]]


def test_a_case_whose_files_are_damaged_stops_nothing(stored: Stored) -> None:
    job = stored.job()
    with writing(stored.place.engine) as session:
        session.execute(update(Instance).values(sha256="0" * 64))
    stored.ahead.look()
    assert not stored.desk.shelf.holds(stored.subject(job).ct_key)
    assert list(stored.ahead.done) == [job]


def test_a_pointer_on_the_way_is_answered_without_a_word_of_the_patient(stored: Stored) -> None:
    job = stored.job()
    with logged_in(stored.place) as client:
        assert [client.get(f"/cases/{number}/ahead").status_code for number in (job, 999)] == [204, 204]
        assert client.get(f"/cases/{job}/ahead").content == b""
        client.cookies.clear()
        assert client.get(f"/cases/{job}/ahead", follow_redirects=False).status_code != 204


def test_a_file_that_is_altered_after_it_was_read_ahead_is_told(stored: Stored) -> None:
    job = stored.job()
    with logged_in(stored.place) as client:
        assert client.get(f"/cases/{job}/contours").status_code == 200
        assert client.get(f"/cases/{job}/volume").status_code == 200
        images = [Path(path) for path, _ in files_of(stored.place.engine, stored.subject(job))]
        for path in (stored.place.layout.result(job) / "RTSTRUCT.dcm", images[0]):
            path.write_bytes(path.read_bytes() + b"\0\0")
        assert "doctor" in client.get(f"/cases/{job}/contours").text
        assert "doctor" in client.get(f"/cases/{job}/volume").text
