"""A planning system, and jobs whose structure sets wait for it."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.deliveries import World
from tests.world import Tps


@pytest.fixture
def tps() -> Tps:
    return Tps()


@pytest.fixture
def world(ledger: Engine, tmp_path: Path, tps: Tps) -> World:
    return World(ledger, tmp_path, tps)
