"""Random schedules of slices: no partial result without HELD or alarm; by a turned clock, and on the running daemon."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from sqlalchemy import Engine
from structlog.testing import capture_logs

from rtseg_daemon.assemble import sweep as sweeping
from rtseg_daemon.assemble.quiet_clock import QuietClock
from rtseg_daemon.assemble.sweep import sweep
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.gates.verdict import PASS
from rtseg_daemon.ledger import associations, moves, series
from rtseg_daemon.ledger.arrivals import Arrival
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.migrate import upgrade
from rtseg_daemon.ledger.schema import Alarm, Job, Series
from rtseg_daemon.ledger.states import Ending, JobState
from tests.arrivals import receive
from tests.receiver import Peer
from tests.synthetic import slice_dataset
from tests.world import Daemon, Tps, body_volume, wait_for, write_config

QUIET = 10.0
SLICES = 8
NUMBERS = count()


@dataclass
class Scene:
    """One series on its way, and the daemon's half that assembles it."""

    engine: Engine
    config: Config
    name: str = field(default_factory=lambda: f"1.2.{next(NUMBERS)}")
    seconds: float = 0.0
    association: int | None = None
    sent: set[int] = field(default_factory=set)
    delivered: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = QuietClock(now=lambda: self.seconds)

    @property
    def now(self) -> float:
        return 1e9 + self.seconds

    def slice(self, k: int) -> None:
        """Slice `k` arrives, for the first time or again."""
        with writing(self.engine) as session:
            if self.association is None:
                self.association = associations.open_association(session, "PACS", "127.0.0.1", at=self.now)
            receive(session, self.arrival(k))
        self.sent.add(k)

    def arrival(self, k: int) -> Arrival:
        facts = {"position": [0.0, 0.0, 3.0 * k], "orientation": [1, 0, 0, 0, 1, 0], "image_type": ["ORIGINAL"]}
        return Arrival(
            self.association, f"{self.name}.{k}", "ct", self.name, f"{self.name}.0", "P", "CT", "PACS", "127.0.0.1",
            f"{self.name}-{k}", f"{self.name}-{k}", 1, self.now, "i", f"g{k}", f"p{k}", facts=facts,
        )  # fmt: skip

    def end(self, ending: Ending) -> None:
        if self.association is not None:
            with writing(self.engine) as session:
                associations.end_association(session, self.association, ending, at=self.now)
            self.association = None

    def wait(self, seconds: float) -> None:
        """Time passes in steps, as the sweep sees it."""
        until = self.seconds + seconds
        while self.seconds < until:
            sweep(self.engine, self.config, self.now, self.clock)
            self.seconds = min(until, self.seconds + QUIET / 2)
        sweep(self.engine, self.config, self.now, self.clock)

    def work(self) -> None:
        """A worker and a courier take whatever is queued all the way to the planning system."""
        for job in self.jobs():
            if job.state is JobState.QUEUED:
                with writing(self.engine) as session:
                    for state in (JobState.RUNNING, JobState.SEGMENTED, JobState.DELIVERING, JobState.DELIVERED):
                        moves.move_job(session, job.id, state, what="test", at=self.now)
                self.delivered.append((job.id, self.slices_of(job)))

    def jobs(self) -> list[Job]:
        with reading(self.engine) as session:
            found = session.query(Series).filter_by(series_instance_uid=self.name).one_or_none()
            return list(found.jobs) if found else []

    def slices_of(self, job: Job) -> int:
        with reading(self.engine) as session:
            return len(series.kept_instances(session, job.series_id, up_to=job.last_instance_id))

    def alarmed(self, job_id: int) -> bool:
        with reading(self.engine) as session:
            return session.query(Alarm).filter_by(key=f"superseded:{job_id}").count() == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("slice"), st.integers(0, SLICES - 1)),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 2.0, 8.0, 12.0, 45.0])),
        st.tuples(st.just("end"), st.sampled_from([Ending.RELEASED, Ending.ABORTED])),
        st.tuples(st.just("work"), st.none()),
    ),
    max_size=25,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Config]]:
    folder = tmp_path_factory.mktemp("schedules")
    engine = open_ledger(f"sqlite:///{folder / 'rtseg.db'}")
    upgrade(engine)
    document = {
        "storage": {"directory": folder},
        "series": {"quiet_seconds": QUIET, "abandon_minutes": 5},
        "routes": [{"name": "r", "match": {"modality": "CT"}, "bundle": "b"}],
    }
    yield engine, Config.model_validate(document)
    engine.dispose()


@pytest.fixture
def gate_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The series gate has tests of its own; here it would read files."""
    monkeypatch.setattr(sweeping, "judge", lambda *_: PASS)


def play(scene: Scene, steps: list[tuple[str, object]]) -> None:
    for what, value in steps:
        getattr(scene, what)(*([] if value is None else [value]))


def judge(scene: Scene) -> None:
    """Send the series once more whole and in order; then it must be complete, and every earlier part accounted for."""
    scene.end(Ending.ABORTED)
    for k in range(SLICES):
        scene.slice(k)
    scene.end(Ending.RELEASED)
    scene.wait(5 * QUIET)
    scene.work()
    newest = scene.jobs()[-1]
    assert newest.state is JobState.DELIVERED
    assert scene.slices_of(newest) == SLICES
    for job in scene.jobs()[:-1]:
        assert job.state in (JobState.CANCELLED, JobState.DELIVERED)
        assert job.state is JobState.CANCELLED or scene.alarmed(job.id)
    for job_id, slices in scene.delivered:
        assert slices == SLICES or scene.alarmed(job_id)
    whole = [job_id for job_id, slices in scene.delivered if slices == SLICES]
    assert len(whole) == 1, "one whole result, and only one"


CALM = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=60, deadline=None, suppress_health_check=CALM)
@given(STEPS)
def test_no_schedule_ends_in_a_partial_result_unseen(
    world: tuple[Engine, Config], gate_passes: None, steps: list[tuple[str, object]]
) -> None:
    with capture_logs():
        scene = Scene(*world)
        play(scene, steps)
        judge(scene)


@pytest.mark.faults
@settings(max_examples=500, deadline=None, suppress_health_check=CALM)
@given(STEPS)
def test_no_schedule_of_five_hundred_ends_in_a_partial_result_unseen(
    world: tuple[Engine, Config], gate_passes: None, steps: list[tuple[str, object]]
) -> None:
    with capture_logs():
        scene = Scene(*world)
        play(scene, steps)
        judge(scene)


def test_a_gap_is_never_sent_while_it_is_there(world: tuple[Engine, Config], gate_passes: None) -> None:
    with capture_logs():
        scene = Scene(*world)
        for k in (0, 1, 2, 4, 5, 6, 7):
            scene.slice(k)
        scene.end(Ending.RELEASED)
        scene.wait(100 * QUIET)
        scene.work()
    assert [job.state for job in scene.jobs()] == [JobState.HELD]


# --- against the running daemon --------------------------------------------------------------------------------------

LIVE_SLICES = 20
LIVE_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("slice"), st.integers(0, LIVE_SLICES - 1)),
        st.tuples(st.just("slices"), st.integers(2, LIVE_SLICES)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 0.6, 2.5, 6.0])),
        st.tuples(st.just("end"), st.sampled_from([Ending.RELEASED, Ending.ABORTED])),
    ),
    min_size=2,
    max_size=8,
)


@dataclass
class Live:
    """One series that a PACS sends to the daemon as the schedule says."""

    daemon: Daemon
    images: list[Dataset]
    peer: Peer | None = None

    def slice(self, k: int) -> None:
        if self.peer is None:
            self.peer = Peer(self.daemon.port, 60.0)
            assert self.peer.associate() == 2
        assert self.peer.store(self.images[k]) == 0

    def slices(self, count: int) -> None:
        for k in range(count):
            self.slice(k)

    def end(self, ending: Ending) -> None:
        if self.peer is not None:
            if ending is Ending.RELEASED:
                self.peer.release()
            self.peer.socket.close()
            self.peer = None

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def jobs(self) -> list[dict[str, Any]]:
        """Oldest first."""
        uid = str(self.images[0].SeriesInstanceUID)
        return sorted(
            (job for job in self.daemon.jobs() if job["series_instance_uid"] == uid), key=lambda job: job["id"]
        )

    def settled(self) -> bool:
        found = self.jobs()
        return bool(found) and found[-1]["state"] == "DELIVERED" and is_whole(found[-1])


def is_whole(job: dict[str, Any]) -> bool:
    return len(images_of(dcmread(job["rtstruct_path"]))) == LIVE_SLICES


def images_of(structure_set: Dataset) -> set[str]:
    study = structure_set.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    return {str(item.ReferencedSOPInstanceUID) for item in study.RTReferencedSeriesSequence[0].ContourImageSequence}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Tps]]:
    folder, tps = tmp_path_factory.mktemp("live"), Tps()
    config = write_config(folder, tps.port, series={"quiet_seconds": 1.0})
    daemon = Daemon(config, folder / "daemon.log")
    with tps.running():
        try:
            yield daemon.start(), tps
        finally:
            daemon.stop()


def follow(live: tuple[Daemon, Tps], steps: list[tuple[str, Any]]) -> None:
    """Play the schedule, send the series whole, and account for every structure set that reached the TPS."""
    daemon, tps = live
    volume = body_volume(LIVE_SLICES)
    seed = 10_000 + next(NUMBERS)
    scene = Live(daemon, [slice_dataset(volume, k, "HFS", seed) for k in range(LIVE_SLICES)])
    for what, value in steps:
        getattr(scene, what)(value)
    scene.end(Ending.ABORTED)
    scene.slices(LIVE_SLICES)
    scene.end(Ending.RELEASED)
    wait_for(scene.settled, 120, lambda: f"{scene.jobs()}\n{daemon.tail()}", 0.2)
    ours = {str(image.SOPInstanceUID) for image in scene.images}
    sent = [images_of(one) for one in tps.structure_sets if images_of(one) <= ours]
    partial = [one for one in sent if one != ours]
    assert len(sent) - len(partial) == 1, "one whole result, and only one"
    jobs_sent = [job["id"] for job in scene.jobs()[:-1] if job["state"] == "DELIVERED"]
    assert len(partial) == len(jobs_sent)
    engine = open_ledger(load_config(daemon.config).database_url)
    with reading(engine) as session:
        alarms = {alarm.key for alarm in session.query(Alarm)}
    engine.dispose()
    assert {f"superseded:{job}" for job in jobs_sent} <= alarms, "no partial result without an alarm"


LIVE = [*CALM, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_late_end_of_a_series_supersedes_what_the_running_daemon_sent(live: tuple[Daemon, Tps]) -> None:
    follow(live, [("slices", LIVE_SLICES - 3), ("end", Ending.RELEASED), ("wait", 6.0)])


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=20, deadline=None, phases=[Phase.generate], suppress_health_check=LIVE, derandomize=True)
@given(LIVE_STEPS)
def test_no_schedule_of_twenty_ends_in_a_partial_result_of_the_running_daemon_unseen(
    live: tuple[Daemon, Tps], steps: list[tuple[str, Any]]
) -> None:
    follow(live, steps)
