"""A department's ledger with contours that came back, and a drift of one organ in its last third."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.storage import Layout
from tests.came_back import come_back
from tests.dashboard import empty_ledger
from tests.filled import Clinic

NOW = 1.79e9
JOBS, DRIFT_FROM = 120, 90
ORGAN = "Parotid_L"


@pytest.fixture(scope="module")
def make_department(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Engine]]:
    """Makes a ledger of 120 jobs in 80 days, all of which came back."""
    engines: list[Engine] = []

    def make(drift_from: int | None = None, answered: bool = True, mm: float = 2.0) -> Engine:
        folder: Path = tmp_path_factory.mktemp("department")
        (folder / "rtseg.db").write_bytes(empty_ledger())
        engines.append(open_ledger(f"sqlite:///{folder / 'rtseg.db'}"))
        Clinic(engines[-1], Layout(folder), NOW, jobs=JOBS).fill()
        if answered:
            come_back(engines[-1], drift_from=drift_from, organ=ORGAN, mm=mm)
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture(scope="module")
def drifted(make_department: Callable[..., Engine]) -> Engine:
    return make_department(DRIFT_FROM)
