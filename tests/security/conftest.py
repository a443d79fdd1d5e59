"""A receiver process for each test that attacks one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from rtseg_daemon.anatomy.volume import Volume
from tests.receiver import Receiver, running
from tests.synthetic import slice_dataset

Start = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """`with start(dicom={...}) as receiver`."""

    @contextmanager
    def begin(**sections: Any) -> Iterator[Receiver]:
        yield from running(tmp_path, **sections)

    return begin


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """One for all tests of a module that need no settings of their own."""
    yield from running(tmp_path_factory.mktemp("receiver"))


SEEDS = count()


@pytest.fixture
def image() -> Dataset:
    """One CT image of 32 x 32 pixels that no other test has sent."""
    return ct_image(seed=1000 + next(SEEDS))


def ct_image(k: int = 0, size: int = 32, seed: int = 0) -> Dataset:
    hu = np.full((k + 1, size, size), 40, np.int16)
    return slice_dataset(Volume(hu, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0)), k, "HFS", seed)
