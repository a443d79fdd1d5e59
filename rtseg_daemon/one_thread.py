"""One thread for processes that do no linear algebra. Libraries start one for each core as they are loaded.

With 64 cores that is hundreds of threads that do nothing, and count for the limits of the service.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}


def with_one_thread(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child that is to start no such threads."""
    return {**environment, **ONE_THREAD}


@contextmanager
def one_thread() -> Iterator[None]:
    """What is loaded in this block starts none. Afterwards the environment is as before, for children that need it."""
    before = {key: os.environ.get(key) for key in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
