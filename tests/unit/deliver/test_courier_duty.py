"""Of several hosts one at a time sends to a destination."""

import threading

from sqlalchemy import Engine

from rtseg_daemon.config.file import parse_config
from rtseg_daemon.deliver.courier import Courier
from rtseg_daemon.ledger.cluster_tables import Duty
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import writing

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
