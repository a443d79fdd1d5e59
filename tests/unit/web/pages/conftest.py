"""A clinic's ledger, filled once for the pages that only look."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rtseg_daemon.config.web import Role
from rtseg_daemon.web.place import Place
from tests.dashboard import logged_in, make_place
from tests.filled import Clinic, store_images, store_result

JOBS = 60
LAST = JOBS
"""The newest job: DELIVERED, with its files where they should be."""


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The place. What tests change in it must not matter to others of the module."""
    place = make_place(tmp_path_factory.mktemp("clinic"))
    Clinic(place.engine, place.layout, place.now(), jobs=JOBS).fill()
    store_result(place.layout, LAST)
    with store_images(place.layout, LAST).open("ab") as file:
        file.truncate(525_000)
    yield place
    place.engine.dispose()


@pytest.fixture(scope="module")
def physicist(clinic: Place) -> TestClient:
    return logged_in(clinic, Role.PHYSICIST, "anna")


@pytest.fixture(scope="module")
def viewer(clinic: Place) -> TestClient:
    return logged_in(clinic, Role.VIEWER, "vera")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Place]:
    """A small clinic of the test's own, to change."""
    place = make_place(tmp_path)
    Clinic(place.engine, place.layout, place.now(), jobs=12).fill()
    yield place
    place.engine.dispose()
