"""Planning systems that refuse, abort, hang, answer too late, lose the answer, lack the CT, or are away for days.

Each is rude for a while on the courier's clock, which the test turns, then polite: everything must be there within five
minutes, and once. dcmtk's storescp and Orthanc are real; the one played by pynetdicom does what they cannot.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import evt
from pynetdicom.sop_class import RTStructureSetStorage
from sqlalchemy import Engine
from structlog.testing import capture_logs

from rtseg_daemon.config.sections import DeliverySection
from rtseg_daemon.deliver.courier import Courier
from rtseg_daemon.dicom.association import Waits
from tests.deliveries import World
from tests.faults.test_delivery_errors import DAY, PROMISED_SECONDS, Clock, run
from tests.integration.test_orthanc import Orthanc
from tests.peers import Storescp
from tests.synthetic import uid
from tests.world import Tps, patient

# pynetdicom leaves the socket of a refused connection to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

WAITS = Waits(connect=2.0, associate=2.0, answer=0.4)
TOO_LONG = 0.9
RUDE_SECONDS = 600.0
JOBS = (1, 2)


class RudeTps(Tps):
    """A planning system whose manners the test sets; it keeps what it stored even where its answer never came."""

    manner = "polite"

    def rudely(self) -> Any:
        return self.running([(evt.EVT_REQUESTED, self.requested), (evt.EVT_C_STORE, self.stored)])

    def requested(self, event: Any) -> None:
        if self.manner == "rejects":
            event.assoc.acse.send_reject(0x02, 0x03, 0x02)  # transient, by the provider, local limit exceeded
            event.assoc.kill()
        elif self.manner == "accepts nothing":
            event.assoc.acceptor.supported_contexts = []

    def stored(self, event: Any) -> int:
        dataset, manner = event.dataset, self.manner
        self.attempts += 1
        if manner == "aborts":
            event.assoc.abort()
        elif manner == "hangs":
            time.sleep(TOO_LONG)
            event.assoc.abort()
        elif manner == "refuses":
            return 0xA700
        elif manner == "lacks the CT" and dataset.SOPClassUID == RTStructureSetStorage:
            return 0x0110
        else:
            self.received.append(dataset)
            if manner == "lacks the CT":
                self.manner = "polite"  # now it has it
        if manner == "answers too late":
            time.sleep(TOO_LONG)
        elif manner == "loses the answer":
            event.assoc.abort()
        return 0x0000


class Waiting:
    """A courier with jobs to bring, and the clock by which it works."""

    def __init__(self, world: World, clock: Clock, jobs: list[int]) -> None:
        config = world.config.model_copy(update={"delivery": DeliverySection()})
        self.world, self.clock, self.jobs = world, clock, jobs
        self.courier = Courier(world.ledger, config, config.destinations[0], clock, WAITS)

    def delivered(self) -> bool:
        return all(self.world.shape(job)["state"] == "DELIVERED" for job in self.jobs)

    def wait(self, seconds: float, step: float = 60.0) -> None:
        """So much time passes, so much at once, while nothing can be delivered for good."""
        until, self.clock.step = self.clock.seconds + seconds, step
        run(self.courier, self.clock, lambda: self.clock.seconds >= until, 2 * seconds)
        assert not self.delivered()

    def arrive(self) -> None:
        """Everything is delivered within five minutes from now."""
        self.clock.step = 5.0
        took = run(self.courier, self.clock, self.delivered, DAY)
        sys.stderr.write(f"delivered {took:.0f} s after the return\n")
        assert took <= PROMISED_SECONDS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    with capture_logs():
        yield Clock(monkeypatch)


MANNERS = ["rejects", "accepts nothing", "refuses", "aborts", "hangs", "answers too late", "loses the answer"]


@pytest.mark.parametrize("manner", MANNERS)
def test_a_tps_without_manners_has_everything_once_within_five_minutes_of_mending_them(
    ledger: Engine, tmp_path: Path, clock: Clock, manner: str
) -> None:
    tps = RudeTps()
    world = World(ledger, tmp_path, tps)
    courier = Waiting(world, clock, [world.job(number) for number in JOBS])
    tps.manner = manner
    with tps.rudely():
        courier.wait(RUDE_SECONDS)
        tps.manner = "polite"
        courier.arrive()
    assert {dataset.SOPInstanceUID for dataset in tps.structure_sets} == {uid("rtstruct", job) for job in courier.jobs}


@pytest.mark.parametrize("send_images", [False, True])
def test_a_tps_that_answers_0110_until_the_ct_is_there_has_the_structure_set_afterwards(
    ledger: Engine, tmp_path: Path, clock: Clock, send_images: bool
) -> None:
    """The CT comes from the PACS after some hours, or we send it ourselves and nobody has to wait."""
    tps = RudeTps()
    world = World(ledger, tmp_path, tps, send_images=send_images)
    files = [path.absolute() for path in patient(world.layout.series / "aa", slices=4)]
    courier = Waiting(world, clock, [world.job(files=files)])
    tps.manner = "lacks the CT"
    with tps.rudely():
        if not send_images:
            courier.wait(5 * 3600.0, step=600.0)
            tps.manner = "polite"
        courier.arrive()
    assert [str(d.Modality) for d in tps.received] == ["CT"] * (4 * send_images) + ["RTSTRUCT"]


@contextmanager
def storescp(folder: Path, port: int, *options: str) -> Iterator[Storescp]:
    """dcmtk's storescp on a port that stays the same, with further options."""
    tps = Storescp(folder)
    tps.port = port
    with tps.running(*options):
        yield tps


@pytest.mark.peers
@pytest.mark.parametrize("options", [("--refuse",), ("--abort-after",), ("--abort-during",)])
def test_storescp_of_dcmtk_without_manners_has_everything_once_within_five_minutes_of_mending_them(
    ledger: Engine, tmp_path: Path, clock: Clock, options: tuple[str, ...]
) -> None:
    tps = Tps()
    world = World(ledger, tmp_path, tps)
    courier = Waiting(world, clock, [world.job(number) for number in JOBS])
    with storescp(tmp_path / "rude", tps.port, *options):
        courier.wait(RUDE_SECONDS)
    with storescp(tmp_path / "polite", tps.port) as polite:
        courier.arrive()
    assert {d.SOPInstanceUID for d in polite.structure_sets} == {uid("rtstruct", job) for job in courier.jobs}


@pytest.mark.peers
@pytest.mark.parametrize("name", ["storescp", "Orthanc"])
def test_a_real_tps_away_for_three_days_has_everything_once_within_five_minutes_of_its_return(
    ledger: Engine, tmp_path: Path, clock: Clock, name: str
) -> None:
    tps = Tps()
    world = World(ledger, tmp_path, tps)
    courier = Waiting(world, clock, [world.job(number) for number in JOBS])
    courier.wait(3 * DAY, step=7200.0)
    wanted = {uid("rtstruct", job) for job in courier.jobs}
    if name == "storescp":
        with storescp(tmp_path / "tps", tps.port) as dcmtk:
            courier.arrive()
        found = [str(dataset.SOPInstanceUID) for dataset in dcmtk.structure_sets]
    else:
        orthanc = Orthanc(tmp_path / "orthanc", "TPS", DicomPort=tps.port)
        with orthanc.running():
            courier.arrive()
            found = [tags["SOPInstanceUID"] for tags in orthanc.instances("RTSTRUCT")]
    assert sorted(found) == sorted(wanted)
