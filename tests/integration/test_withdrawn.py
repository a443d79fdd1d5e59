"""What comes while a CT goes out to a slow planning system: the structure set after it must not follow."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import evt
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.schema import Instance, Job
from tests.arrivals import receive
from tests.deliveries import World
from tests.unit.ledger.test_jobs import arrival
from tests.world import Tps, patient

SLICES = 5
SECONDS = 0.1
"""For each image; the planning system is slow."""
SERIES = "1.3.1"

Happening = Callable[[Session], Any]


def a_cancel(session: Session) -> None:
    jobs.cancel(session, 1, "anna", "wrong patient")


def a_contradiction(session: Session) -> None:
    known = session.get_one(Instance, 1)
    again = arrival(900, sop_instance_uid=known.sop_instance_uid, series_instance_uid=SERIES, geometry_sha256="else")
    receive(session, again)


def another_patients_image(session: Session) -> None:
    receive(session, arrival(901, series_instance_uid=SERIES, patient_id="Q", identity_sha256="of another"))


def a_late_slice(session: Session) -> None:
    receive(session, arrival(902, series_instance_uid=SERIES))


HAPPENINGS = [
    (a_cancel, "CANCELLED", "is CANCELLED"),
    (a_contradiction, "CANCELLED", "is HELD"),
    (another_patients_image, "WAITING", "lacks slices"),
    (a_late_slice, "WAITING", "lacks slices"),
]


@pytest.mark.parametrize("moment", [0, SLICES - 1], ids=["with the first image", "with the last image"])
@pytest.mark.parametrize(("happening", "state", "why"), HAPPENINGS, ids=[f.__name__ for f, *_ in HAPPENINGS])
def test_what_comes_while_the_ct_goes_out_stops_the_structure_set(
    ledger: Engine, tmp_path: Path, happening: Happening, state: str, why: str, moment: int
) -> None:
    def answer(number: int, _dataset: Dataset) -> int:
        time.sleep(SECONDS)
        if number == moment:
            with writing(ledger) as session:
                happening(session)
        return 0x0000

    tps = Tps(answer=answer)
    world = World(ledger, tmp_path, tps, send_images=True)
    files = patient(world.layout.series / "aa", slices=SLICES)
    world.job(files=[path.absolute() for path in files])
    with tps.running(), world.couriers():
        world.until(lambda: why in (world.delivery()["last_comment"] or ""))
        time.sleep(0.8)  # a next attempt would have been made by now
        assert world.delivery()["state"] == state
    assert not tps.structure_sets
    assert world.delivery()["attempts"] == 1
    assert len(tps.received) == moment + 1, "images of what is withdrawn go on being sent"


def test_what_comes_while_a_slow_planning_system_takes_the_association_stops_the_structure_set(
    ledger: Engine, tmp_path: Path
) -> None:
    def negotiated(_event: Any) -> None:
        time.sleep(2 * SECONDS)
        with writing(ledger) as session:
            if session.get_one(Job, 1).state != "CANCELLED":
                a_cancel(session)

    tps = Tps()
    world = World(ledger, tmp_path, tps)
    world.job()
    handlers = [(evt.EVT_REQUESTED, negotiated)]
    with tps.running(handlers), world.couriers():
        world.until(lambda: world.delivery()["state"] == "CANCELLED")
    assert not tps.received


def test_nothing_in_between_lets_the_ct_and_the_structure_set_go(ledger: Engine, tmp_path: Path) -> None:
    tps = Tps()
    world = World(ledger, tmp_path, tps, send_images=True)
    files = patient(world.layout.series / "aa", slices=SLICES)
    world.job(files=[path.absolute() for path in files])
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")
    assert [str(d.Modality) for d in tps.received] == ["CT"] * SLICES + ["RTSTRUCT"]
