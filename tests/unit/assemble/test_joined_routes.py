"""A route of several bundles: a job for each, or one for all of them."""

from pathlib import Path

import pytest
import yaml
from sqlalchemy import Engine

from rtseg_daemon.ledger.states import JobState
from tests.faults.conftest import series
from tests.room import Room


@pytest.fixture
def room(tmp_path: Path, ledger: Engine) -> Room:
    return Room(tmp_path, ledger)


def two_bundles(room: Room, folder: Path, mode: str) -> None:
    """The route of the room with two bundles, of which the second wants more slices than anybody sends."""
    document = yaml.safe_load((folder / "models" / "tiny" / "bundle.yaml").read_text())
    picky = folder / "models" / "picky"
    picky.mkdir()
    changes = {"name": "picky", "limits": {"minimum_slices": 1000}}
    (picky / "bundle.yaml").write_text(yaml.safe_dump(document | changes))
    route = room.config.routes[0].model_copy(update={"bundle": ("tiny", "picky"), "structure_sets": mode})
    room.config = room.config.model_copy(update={"routes": (route,)})


def test_two_bundles_make_two_jobs_each_judged_by_its_own_limits(room: Room, tmp_path: Path) -> None:
    two_bundles(room, tmp_path, "separate")
    images = series(1)
    room.put(images)
    room.pass_time(11)
    assert [(job.bundle, job.state) for job in room.of(images).jobs] == [
        ("tiny", JobState.QUEUED),
        ("picky", JobState.HELD),
    ]


def test_two_bundles_joined_make_one_job_that_either_can_hold(room: Room, tmp_path: Path) -> None:
    two_bundles(room, tmp_path, "joined")
    images = series(1)
    room.put(images)
    room.pass_time(11)
    (job,) = room.of(images).jobs
    assert (job.bundle, job.state) == ("tiny+picky", JobState.HELD)
    assert "the bundle needs at least 1000" in str(job.error)
