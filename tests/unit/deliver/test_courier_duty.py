"""Of several hosts one at a time sends to a destination."""

import threading
from pathlib import Path

import pytest
from pydicom import Dataset
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from rtseg_daemon.config.file import parse_config
from rtseg_daemon.deliver import courier as module
from rtseg_daemon.deliver.courier import Courier
from rtseg_daemon.dicom.association import Waits
from rtseg_daemon.errors import DutyLost
from rtseg_daemon.ledger import duties
from rtseg_daemon.ledger.cluster_tables import Duty
from rtseg_daemon.ledger.deliveries import note_destination
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Delivery, Destination
from tests.deliveries import World
from tests.duties import take_over
from tests.world import Tps, patient

DUTY = "deliver to tps"
SLICES = 3
CONFIG = "destinations: [{name: tps, ae_title: TPS, host: 127.0.0.1, port: 9}]"


class Counted(Courier):
    """Counts what it would do."""

    probes = 0
    resumed = 0

    def probe(self) -> None:
        self.probes += 1

    def resume(self) -> None:
        self.resumed += 1
        self.unsettled = False


def courier(ledger: Engine, owner: str, tmp_path: object) -> Counted:
    config = parse_config(CONFIG, tmp_path / "config.yaml")  # type: ignore[operator]
    duty = OnDuty(ledger, "deliver to tps", owner, seconds=30.0)
    return Counted(ledger, config, config.destinations[0], threading.Event(), duty=duty)


def with_images(ledger: Engine, folder: Path, tps: Tps) -> World:
    """A job whose CT goes out before its structure set."""
    world = World(ledger, folder, tps, send_images=True)
    files = patient(world.layout.series / "aa", slices=SLICES)
    world.job(files=[path.absolute() for path in files])
    return world


def test_the_second_host_neither_sends_nor_asks_whether_the_destination_is_there(ledger: Engine, tmp_path) -> None:
    first, second = courier(ledger, "north/1", tmp_path), courier(ledger, "south/1", tmp_path)
    assert [first.turn(), second.turn()] == [False, False]
    assert (first.probes, first.resumed) == (1, 1)
    assert (second.probes, second.resumed) == (0, 0)


def test_one_that_takes_over_looks_first_at_what_was_on_the_wire(ledger: Engine, tmp_path) -> None:
    first, second = courier(ledger, "north/1", tmp_path), courier(ledger, "south/1", tmp_path)
    first.turn()
    second.turn()
    with writing(ledger) as session:
        session.get_one(Duty, "deliver to tps").until = 0.0
    second.duty.asked_at = float("-inf")
    second.turn()
    assert (second.probes, second.resumed) == (1, 1)
    first.duty.asked_at = float("-inf")
    first.turn()
    assert first.resumed == 1, "it has learned that it is another's now"
    with writing(ledger) as session:
        session.get_one(Duty, "deliver to tps").until = 0.0
    first.duty.asked_at = float("-inf")
    first.turn()
    assert first.resumed == 2, "somebody else has sent in between"


def sending(world: World) -> Courier:
    """The courier of a host that has the duty. Turns are the test's."""
    duty = OnDuty(world.ledger, DUTY, "north/1")
    return Courier(world.ledger, world.config, world.config.destinations[0], threading.Event(), Waits(), duty=duty)


def delivery_of(ledger: Engine) -> tuple[str, int, list[str], str | None]:
    with reading(ledger) as session:
        row = session.get_one(Delivery, 1)
        return row.state, row.attempts, row.images_sent, row.last_comment


@pytest.mark.parametrize("moment", range(SLICES))
def test_one_that_has_lost_its_duty_meanwhile_sends_no_further_object(
    ledger: Engine, tmp_path: Path, moment: int
) -> None:
    def answer(number: int, _dataset: Dataset) -> int:
        if number == moment:
            take_over(ledger, DUTY)
        return 0x0000

    tps = Tps(answer=answer)
    world = with_images(ledger, tmp_path, tps)
    courier = sending(world)
    with tps.running(), pytest.raises(DutyLost):
        courier.turn()
    assert len(tps.received) == moment + 1
    assert not tps.structure_sets
    assert delivery_of(ledger) == ("SENDING", 1, [], None), "it is the other host's by now"


@pytest.mark.parametrize("status", [0x0000, 0x0110, 0xA700])
def test_one_that_has_lost_its_duty_meanwhile_moves_no_delivery_whatever_the_answer_is(
    ledger: Engine, tmp_path: Path, status: int
) -> None:
    def answer(_number: int, _dataset: Dataset) -> int:
        take_over(ledger, DUTY)
        return status

    tps = Tps(answer=answer)
    world = World(ledger, tmp_path, tps)
    world.job()
    courier = sending(world)
    with tps.running(), pytest.raises(DutyLost):
        courier.turn()
    assert delivery_of(ledger) == ("SENDING", 1, [], None)


def test_one_that_has_lost_its_duty_meanwhile_withdraws_nothing(ledger: Engine, tmp_path: Path) -> None:
    world = World(ledger, tmp_path, Tps())
    world.job()
    courier = sending(world)
    assert courier.duty.ours()
    take_over(ledger, DUTY)
    for step in (
        lambda: courier.withdraw(1, "cancelled"),
        courier.resume,
        lambda: courier.failed(1, OSError("gone")),
        lambda: courier.attempt(1),
    ):
        with pytest.raises(DutyLost):
            step()
    assert delivery_of(ledger) == ("WAITING", 0, [], None)


def test_one_that_has_lost_its_duty_while_it_probes_says_nothing_of_the_destination(
    ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> int:
        take_over(ledger, DUTY)
        with writing(ledger) as session:
            note_destination(session, "tps", True)
        return 0x0122

    monkeypatch.setattr(module, "echo", silent)
    courier = sending(World(ledger, tmp_path, Tps()))
    with pytest.raises(DutyLost):
        courier.turn()
    with reading(ledger) as session:
        assert session.get_one(Destination, "tps").up


def test_a_loss_ends_neither_the_courier_nor_counts_as_an_attempt(ledger: Engine, tmp_path: Path) -> None:
    world = World(ledger, tmp_path, Tps())
    world.job()
    courier = sending(world)
    assert courier.duty.ours()
    take_over(ledger, DUTY)
    courier.stop.set()
    assert courier._guarded(courier.turn) is False
    assert courier._guarded(courier.turn) is False, "it has learned that it is another's"
    assert delivery_of(ledger) == ("WAITING", 0, [], None)


def test_a_ledger_that_goes_away_before_the_structure_set_keeps_it_back_until_it_is_there_again(
    ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> int:
        raise OperationalError("BEGIN", None, Exception("the server is away"))

    def answer(number: int, _dataset: Dataset) -> int:
        if number == SLICES - 1:
            monkeypatch.setattr(duties, "take", away)
        return 0x0000

    tps = Tps(answer=answer)
    world = with_images(ledger, tmp_path, tps)
    courier = sending(world)
    courier.stop.set()
    with tps.running():
        assert courier._guarded(courier.turn) is False
        assert not tps.structure_sets
        assert delivery_of(ledger)[:2] == ("SENDING", 1)
        monkeypatch.undo()
        assert courier._guarded(courier.turn) is True
    assert (len(tps.received), len(tps.structure_sets)) == (SLICES + 1, 1)
    assert delivery_of(ledger)[:2] == ("SENT", 2)
