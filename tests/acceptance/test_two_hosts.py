"""Two daemons, each with its storage, and one ledger: what one has received the other contours, and it comes home."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.postgres import Server
from tests.world import Daemon, Tps, free_port, patient, send, wait_for, write_config

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


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
