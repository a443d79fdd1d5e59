"""What a viewer asks for over HTTP: a small case read by the real reading process, and everything that can be wrong."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.ct.series import CtSeries, load_series
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.states import InstanceState, JobState
from rtseg_daemon.web.place import Place
from rtseg_daemon.web.viewer.desk import Desk
from rtseg_daemon.web.viewer.readers import Readers
from rtseg_daemon.web.viewer.subject import subject_of
from tests.dashboard import browser, logged_in, make_place, program
from tests.synthetic import write_series
from tests.viewed import doubt_around, drawn_organ, stored_job, stored_series

SHAPE = (12, 40, 48)


class Shown:
    """A place with one series, two results of it and a job of another series, and one browser."""

    def __init__(self, folder: Path) -> None:
        self.place: Place = make_place(folder)
        self.volume = Volume(
            np.random.default_rng(2).integers(-200, 200, SHAPE).astype(np.int16), (3.0, 1.0, 1.0), (-18.0, -20.0, -24.0)
        )
        self.files = write_series(folder / "ct", self.volume)
        self.series: CtSeries = load_series(self.files)
        mask = np.zeros(SHAPE, bool)
        mask[3:9, 10:20, 12:24] = True
        self.organs = [drawn_organ("Parotid_L", mask, self.volume, (5, 7))]
        self.series_id = stored_series(self.place.engine, self.place.layout, self.files, self.series)
        self.job, self.rerun = self.make_job(1), self.make_job(2)
        self.client = logged_in(self.place)

    def make_job(self, run: int) -> int:
        doubt = doubt_around(self.organs, self.volume)
        return stored_job(
            self.place.engine, self.place.layout, self.series_id, self.series, self.organs, doubt, run=run
        )

    def desk(self) -> Desk:
        """The application's desk, which is there once something was asked for."""
        found = self.client.app.state.desk  # type: ignore[attr-defined]
        assert isinstance(found, Desk)
        return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    made = Shown(tmp_path_factory.mktemp("shown"))
    with made.client:
        yield made


@pytest.fixture
def own(tmp_path: Path, shared: Shown) -> Iterator[Shown]:
    """A case that the test may damage. It asks the same reading processes, which are warm."""
    made = Shown(tmp_path)
    made.client.app.state.desk = Desk(  # type: ignore[attr-defined]
        made.place.engine, made.place.layout, 0.0, shared.desk().readers
    )
    yield made
    made.desk().shelf.close()


def test_geometry_tells_where_voxels_lie_and_what_else_there_is(shared: Shown) -> None:
    said = shared.client.get(f"/cases/{shared.job}/volume").json()
    assert said["shape"] == list(SHAPE)
    np.testing.assert_allclose(said["spacing_mm"], (3, 1, 1), atol=1e-6)
    np.testing.assert_allclose(said["z_mm"], -18.0 + 3.0 * np.arange(12), atol=1e-3)
    assert [one["job"] for one in said["others"]] == [shared.rerun]
    assert said["entropy"] == ["han-oar"]


@pytest.mark.parametrize(("number", "count"), [(1, 1), (5, 8), (12, 16)])
def test_axial_slices_are_the_hu_of_the_series(shared: Shown, number: int, count: int) -> None:
    answer = shared.client.get(f"/cases/{shared.job}/slices/axial/{number}", params={"count": count})
    found = np.frombuffer(answer.content, "<i2").reshape(-1, *SHAPE[1:])
    np.testing.assert_array_equal(found, shared.volume.array[number - 1 : number - 1 + count])
    assert answer.headers["x-count"] == str(len(found))


def test_coronal_and_sagittal_slices_have_the_head_up(shared: Shown) -> None:
    for plane, expected in (
        ("coronal", shared.volume.array[::-1, 6, :]),
        ("sagittal", shared.volume.array[::-1, :, 6]),
    ):
        answer = shared.client.get(f"/cases/{shared.job}/slices/{plane}/7")
        np.testing.assert_array_equal(np.frombuffer(answer.content, "<i2").reshape(expected.shape), expected)


def test_a_browser_that_has_a_slice_is_told_so_and_no_cache_keeps_it(shared: Shown) -> None:
    path = f"/cases/{shared.job}/slices/axial/3"
    first = shared.client.get(path)
    assert first.headers["cache-control"] == "no-store"
    again = shared.client.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert shared.client.get(f"/cases/{shared.job}/slices/axial/4").headers["etag"] != first.headers["etag"]


def test_contours_and_entropy_are_packed_for_who_unpacks_them(shared: Shown) -> None:
    for what in ("contours", "entropy/0"):
        packed = shared.client.get(f"/cases/{shared.job}/{what}", headers={"accept-encoding": "gzip"})
        plain = shared.client.get(f"/cases/{shared.job}/{what}", headers={"accept-encoding": "identity"})
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert packed.content == plain.content
    geometry = json.loads(packed.headers["x-geometry"])
    assert len(packed.content) == np.prod(geometry["shape"])


def test_the_picture_of_an_organ_is_a_png(shared: Shown) -> None:
    answer = shared.client.get(f"/cases/{shared.job}/organ.png", params={"name": "Parotid_L"})
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
    assert shared.client.get(f"/cases/{shared.job}/organ.png", params={"name": "../x"}).status_code == 404


def test_all_jobs_of_the_same_images_share_one_reading(shared: Shown) -> None:
    shared.client.get(f"/cases/{shared.job}/volume")
    before = shared.desk().shelf.bytes
    assert shared.client.get(f"/cases/{shared.rerun}/volume").status_code == 200
    assert shared.desk().shelf.bytes == before


WHATS = ("volume", "slices/axial/1", "contours", "entropy/0", "organ.png?name=Parotid_L")


@pytest.mark.parametrize("what", WHATS)
def test_who_looks_is_in_the_audit_trail_once(own: Shown, what: str) -> None:
    for _ in range(2):
        assert own.client.get(f"/cases/{own.job}/{what}").status_code == 200
    with reading(own.place.engine) as session:
        looks = [event for event in events_of(session, "job", own.job) if event.what == "viewed"]
    assert [event.who for event in looks] == ["a.viewer"]


@pytest.mark.parametrize("what", WHATS)
def test_nobody_sees_anything_without_an_account(shared: Shown, what: str) -> None:
    stranger = browser(shared.place)
    assert stranger.get(f"/cases/{shared.job}/{what}").status_code == 303
    stranger.headers["accept"] = "application/json"
    assert stranger.get(f"/cases/{shared.job}/{what}").status_code == 401


def test_a_program_with_a_token_may_read_slices(shared: Shown) -> None:
    client = program(shared.place)
    client.app.state.desk = shared.desk()  # type: ignore[attr-defined]
    assert client.get(f"/cases/{shared.job}/slices/axial/1").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/cases/999/volume", 404),
        ("/cases/0/volume", 422),
        (f"/cases/{2**70}/volume", 422),
        ("/cases/../../etc/passwd", 404),
        ("/cases/1/slices/axial/0", 404),
        ("/cases/1/slices/axial/13", 404),
        ("/cases/1/slices/axial/-5", 404),
        ("/cases/1/slices/axial/..%2F..%2Fetc%2Fpasswd", 404),
        ("/cases/1/slices/oblique/1", 422),
        ("/cases/1/slices/axial/1?count=17", 422),
        ("/cases/1/entropy/1", 404),
        ("/cases/1/entropy/..%2Fentropy.npz", 404),
    ],
)
def test_what_is_not_there_has_its_status(shared: Shown, path: str, status: int) -> None:
    answer = shared.client.get(path, headers={"accept": "application/json"})
    assert answer.status_code == status
    assert "passwd" not in answer.text or status == 404


def test_a_slice_out_of_range_is_told_with_the_range(shared: Shown) -> None:
    answer = shared.client.get(f"/cases/{shared.job}/slices/axial/13", headers={"accept": "application/json"})
    assert answer.json()["error"] == "there is no axial slice 13; they go from 1 to 12"


def told(client: TestClient, path: str) -> tuple[int, str]:
    answer = client.get(path, headers={"accept": "application/json"})
    return answer.status_code, answer.json()["error"]


def test_an_altered_image_is_not_shown_and_doctor_is_named(own: Shown) -> None:
    victim = next(path for path in own.place.layout.series.rglob("*") if path.is_file())
    victim.write_bytes(victim.read_bytes()[:-2] + b"xx")
    status, sentence = told(own.client, f"/cases/{own.job}/volume")
    assert status == 409
    assert "was altered" in sentence
    assert "doctor" in sentence


def test_a_missing_structure_set_leaves_the_ct_to_look_at(own: Shown) -> None:
    (own.place.layout.result(own.job) / "RTSTRUCT.dcm").unlink()
    status, sentence = told(own.client, f"/cases/{own.job}/contours")
    assert status == 409
    assert "is missing" in sentence
    assert own.client.get(f"/cases/{own.job}/volume").status_code == 200


def test_a_job_without_a_result_shows_its_images_alone(own: Shown) -> None:
    with writing(own.place.engine) as session:
        session.execute(update(Job).values(rtstruct_path=None, rtstruct_sha256=None))
    assert own.client.get(f"/cases/{own.job}/volume").json()["contours"] is False
    assert told(own.client, f"/cases/{own.job}/contours")[0] == 404


def test_the_case_page_has_the_viewer_with_and_without_a_result(own: Shown) -> None:
    """A job that was held before it had a result has images that whoever decides wants to see."""
    with_result = own.client.get(f"/cases/{own.job}").text
    assert f'data-viewer data-job="{own.job}"' in with_result
    assert f'src="/cases/{own.job}/organ.png?name=Parotid_L"' in with_result
    with writing(own.place.engine) as session:
        session.execute(update(Job).values(rtstruct_path=None, rtstruct_sha256=None, state=JobState.HELD, rois=[]))
    assert "data-viewer" in own.client.get(f"/cases/{own.job}?beside=%22%3E%3Cscript%3E").text
    assert "<script>" not in own.client.get(f"/cases/{own.job}?beside=%22%3E%3Cscript%3E").text


def test_what_retention_removes_while_it_is_viewed_is_shown_no_more(own: Shown) -> None:
    assert own.client.get(f"/cases/{own.job}/slices/axial/1").status_code == 200
    with writing(own.place.engine) as session:
        session.execute(update(Instance).values(state=InstanceState.REMOVED))
    for what in WHATS:
        status, sentence = told(own.client, f"/cases/{own.job}/{what}")
        assert status == 410
        assert "retention" in sentence


def test_a_disk_that_is_nearly_full_is_left_to_reception(own: Shown) -> None:
    own.desk().minimum_free_gb = 1e9
    status, sentence = told(own.client, f"/cases/{own.job}/volume")
    assert status == 507
    assert "reception" in sentence


def test_who_must_wait_is_told_when_to_come_again(own: Shown) -> None:
    readers = Readers(turn=0.01)
    readers._free.clear()
    own.desk().readers = readers
    answer = own.client.get(f"/cases/{own.job}/volume", headers={"accept": "application/json"})
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


def test_the_page_of_a_case_begins_to_read_its_ct(tmp_path: Path) -> None:
    shown = Shown(tmp_path)
    try:
        assert shown.client.get(f"/cases/{shown.job}").status_code == 200
        key = subject_of(shown.place.engine, shown.place.files, shown.job).ct_key
        until = time.monotonic() + 60
        while not shown.desk().shelf.holds(key) and time.monotonic() < until:
            time.sleep(0.05)
        assert shown.desk().shelf.holds(key)
    finally:
        shown.desk().close()
        shown.place.engine.dispose()
