"""Random schedules of slices and a clock that is turned: no partial result without HELD or alarm."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from structlog.testing import capture_logs

from rtseg_daemon.config import Config
from rtseg_daemon.dicom import assemble
from rtseg_daemon.dicom.assemble import QuietClock, sweep
from rtseg_daemon.ledger import jobs, reception
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.migrate import upgrade
from rtseg_daemon.ledger.reception import Arrival
from rtseg_daemon.ledger.schema import Alarm, Job, Series
from rtseg_daemon.ledger.states import Ending, JobState
from rtseg_daemon.segment.verdict import PASS

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
                self.association = reception.open_association(session, "PACS", "127.0.0.1", at=self.now)
            reception.record_instances(session, [self.arrival(k)])
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
                reception.end_association(session, self.association, ending, at=self.now)
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
                        jobs.move_job(session, job.id, state, what="test", at=self.now)
                self.delivered.append((job.id, self.slices_of(job)))

    def jobs(self) -> list[Job]:
        with reading(self.engine) as session:
            found = session.query(Series).filter_by(series_instance_uid=self.name).one_or_none()
            return list(found.jobs) if found else []

    def slices_of(self, job: Job) -> int:
        with reading(self.engine) as session:
            return len(reception.kept_instances(session, job.series_id, up_to=job.last_instance_id))

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
    monkeypatch.setattr(assemble, "judge", lambda *_: PASS)


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
