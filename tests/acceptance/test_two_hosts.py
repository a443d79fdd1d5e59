"""Two daemons, each with its storage, and one ledger: what one has received the other contours, and it comes home."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from rtseg_daemon.cluster.place import files_of
from rtseg_daemon.config.file import load_config
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.returned import all_returned
from rtseg_daemon.ledger.schema import Delivery, Job
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.storage import layout_of
from rtseg_daemon.web.place import Place
from tests.certificates import Authority
from tests.dashboard import logged_in
from tests.peers import storescu
from tests.postgres import Server
from tests.structure_sets import approved
from tests.world import Daemon, Tps, free_port, patient, send, wait_for, write_config

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


CALLERS = [
    {"ae_title": "PACS", "host": "127.0.0.1"},
    {"ae_title": "TPS", "host": "127.0.0.1", "feedback": True},
]


@dataclass
class Department:
    """Two hosts and a planning system."""

    north: Daemon
    south: Daemon
    tps: Tps

    def storage(self, daemon: Daemon) -> Path:
        return daemon.config.parent / "storage"


@pytest.fixture(scope="module")
def department(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Department]:
    folder = tmp_path_factory.mktemp("department")
    authority, url, tps = Authority(folder / "ca"), postgres.new_database(), Tps()
    daemons = []
    for name in ("north", "south"):
        place = folder / name
        place.mkdir()
        pair = authority.issue(name)
        tls = {"certificate": str(pair.certificate), "key": str(pair.key), "ca": str(authority.certificate)}
        config = write_config(
            place,
            tps.port,
            database={"url": url, "host_name": name},
            cluster={"port": free_port(), "tls": tls},
            dicom={"port": free_port(), "allowed_callers": CALLERS},
            series={"quiet_seconds": 2},
        )
        daemons.append(Daemon(config, place / "daemon.log"))
    with tps.running():
        started = []
        try:
            for daemon in daemons:
                started.append(daemon)
                daemon.start()
            yield Department(daemons[0], daemons[1], tps)
        finally:
            for daemon in started:
                if daemon.process is not None and daemon.process.poll() is None:
                    daemon.stop()


def claimed_by(daemon: Daemon, job: int) -> str:
    """The host whose worker did a job."""
    events = daemon.ask("jobs", "events", str(job))
    return next(str(event["who"]) for event in events if event["what"] == "claimed").partition("@")[2].partition("/")[0]


def test_what_a_drained_host_receives_another_contours_and_the_result_comes_home(
    department: Department, tmp_path: Path
) -> None:
    north, south = department.north, department.south
    assert north.command("drain", "north", "--why", "maintenance").returncode == 0
    files = patient(tmp_path / "ct", seed=1)
    assert set(send(north.port, files)) == {0}
    job = north.wait_for_state("DELIVERED", 120)
    assert claimed_by(north, job["id"]) == "south"
    result = Path(job["rtstruct_path"])
    assert result.is_relative_to(department.storage(north))
    assert [str(d.SOPInstanceUID) for d in department.tps.structure_sets] == [job["rtstruct_sop_instance_uid"]]
    assert not (department.storage(south) / "results" / str(job["id"])).exists()
    images = {path.read_bytes() for path in (department.storage(north) / "series").rglob("*") if path.is_file()}
    fetched = {path.read_bytes() for path in (department.storage(south) / "shelves" / "worker-0").glob("*/*")}
    assert fetched == images
    assert north.command("drain", "north", "--why", "done", "--undo").returncode == 0


@contextmanager
def seen_from(daemon: Daemon) -> Iterator[Place]:
    """The dashboard of a host, in this process."""
    config = load_config(daemon.config)
    engine = open_ledger(config.database_url)
    yield Place(config, layout_of(config), engine, other_files=files_of(config, engine, "test"))
    engine.dispose()


def came_back(place: Place) -> list[str]:
    """States of the sets that came back."""
    with reading(place.engine) as session:
        return [str(row.state) for row in all_returned(session)]


def test_a_case_of_another_host_is_looked_at_as_if_it_were_here(department: Department) -> None:
    shown = []
    for daemon in (department.north, department.south):
        with seen_from(daemon) as place, logged_in(place) as person:
            answers = [person.get(f"/cases/1/{part}") for part in ("volume", "contours", "slices/axial/7", "entropy/0")]
            assert [answer.status_code for answer in answers] == [200] * 4, [answer.text[:200] for answer in answers]
            shown.append([answer.content for answer in answers])
            files = person.get("/cases/1/files").text
            assert "All 21 files were read, and are what was stored" in files
            assert "north: series/" in files
            assert "digest is right" in person.get("/cases/1").text
    assert shown[0] == shown[1]
    (job,) = department.south.jobs()
    assert job["rtstruct_path"].startswith("north:results/1/")


def test_what_a_person_releases_at_another_host_is_marked_at_home_and_delivered(department: Department) -> None:
    with seen_from(department.south) as place:
        with writing(place.engine) as session:
            session.execute(delete(Delivery))
            session.execute(update(Job).values(state=JobState.HELD, error="the test holds it", releasable=True))
        held = Path(department.north.jobs()[0]["rtstruct_path"])
        done = department.south.command("jobs", "release", "1", "--why", "looked at it")
        assert done.returncode == 0, done.stderr
        job = department.south.wait_for_state("DELIVERED", 60)
    marked = Path(department.north.jobs()[0]["rtstruct_path"])
    assert marked.parent == held.parent
    assert marked != held
    sent = next(d for d in department.tps.structure_sets if d.SOPInstanceUID == job["rtstruct_sop_instance_uid"])
    assert all("released" in roi.ROIDescription for roi in sent.StructureSetROISequence)
    assert not list((department.storage(department.south) / "shelves").glob("command-*"))


def test_what_comes_back_at_another_host_than_its_series_is_measured(department: Department, tmp_path: Path) -> None:
    file = tmp_path / "approved.dcm"
    approved(department.tps.structure_sets[-1]).save_as(file, enforce_file_format=True)
    storescu(department.south.port, [file], calling="TPS")
    with seen_from(department.south) as place:
        wait_for(lambda: came_back(place) == ["MEASURED"], 90, department.south.tail)
    (row,) = department.north.ask("feedback", "list")
    assert row["path"].startswith("south:returned/")
    assert Path(department.south.ask("feedback", "list")[0]["path"]).is_file()
    with seen_from(department.north) as place:
        out = tmp_path / "sets"
        done = department.north.command("feedback", "export", "--out", str(out), "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["added"]
        assert place.files.keeps("north")


def test_a_series_that_arrives_in_parts_at_both_is_one_series(department: Department, tmp_path: Path) -> None:
    files = patient(tmp_path / "ct", seed=2)
    assert set(send(department.north.port, files[:9])) == {0}
    assert set(send(department.south.port, files[9:])) == {0}
    job = department.south.wait_for_state("DELIVERED", 120, job=2)
    assert len(department.south.jobs()) == 2
    shape = department.north.ask("series", "show", job["series_instance_uid"])
    assert shape["instance_count"] == len(files)
    (structure_set,) = (
        d for d in department.tps.structure_sets if d.SOPInstanceUID == job["rtstruct_sop_instance_uid"]
    )
    images = structure_set.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    assert len(images.RTReferencedSeriesSequence[0].ContourImageSequence) == len(files)


def test_an_image_that_comes_again_at_the_other_host_is_the_same_image(department: Department, tmp_path: Path) -> None:
    files = patient(tmp_path / "ct", seed=1)
    before = len(department.south.jobs())
    assert set(send(department.south.port, files[:3])) == {0}
    wait_for(lambda: len(department.south.jobs()) == before, 5)
    shape = department.north.ask("series", "list")
    assert sorted(series["instance_count"] for series in shape) == [len(files), len(files)]


def test_status_names_hosts_and_who_does_what_for_all(department: Department) -> None:
    shapes = department.south.ask("status")["hosts"]
    assert [(shape["name"], shape["state"]) for shape in shapes] == [("north", "up"), ("south", "up")]
    duties = [duty for shape in shapes for duty in shape["duties"]]
    assert sorted(duties) == sorted(set(duties)), "one host at a time"
    assert {"sweep", "deliver to tps"} <= set(duties)
    said = department.south.command("status").stdout
    assert "north" in said
    assert "south" in said


def test_a_second_site_with_the_name_of_a_first_is_refused(department: Department, tmp_path: Path) -> None:
    text = department.south.config.read_text()
    config = tmp_path / "config.yaml"
    storage, port = str(department.storage(department.south)), f"port: {department.south.port}"
    config.write_text(text.replace(storage, str(tmp_path / "storage")).replace(port, f"port: {free_port()}"))
    done = Daemon(config, tmp_path / "log").command("serve")
    assert done.returncode == 1
    assert "host south works on another storage directory" in done.stderr


def test_a_file_damaged_at_its_host_ends_the_job_by_name(department: Department, tmp_path: Path) -> None:
    north, south = department.north, department.south
    assert south.command("drain", "south", "--why", "its images are contoured elsewhere").returncode == 0
    files = patient(tmp_path / "ct", seed=3)
    before = {path for path in (department.storage(south) / "series").rglob("*") if path.is_file()}
    assert set(send(south.port, files)) == {0}
    after = {path for path in (department.storage(south) / "series").rglob("*") if path.is_file()}
    broken = sorted(after - before)[0]
    content = broken.read_bytes()
    broken.chmod(0o600)
    broken.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        job = north.wait_for_state("FAILED", 120, job=3)
    finally:
        broken.write_bytes(content)
    assert "1 of 20 stored files are damaged" in job["error"]
    assert hashlib.sha256(broken.read_bytes()).hexdigest() in {
        one["sha256"] for one in south.ask("series", "show", job["series_instance_uid"])["instances"]
    }
    assert north.command("jobs", "retry", str(job["id"]), "--why", "the disk was mended").returncode == 0
    north.wait_for_state("DELIVERED", 120, job=3)
