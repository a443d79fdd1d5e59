"""pydicom's complaints about strangers' files, which quote the patient's data: silenced, or raised if wanted."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

_LOCK = threading.RLock()
_PYDICOM = logging.getLogger("pydicom")


@contextmanager
def quiet(action: Literal["ignore", "error"] = "ignore") -> Iterator[None]:
    """No warning and no log line of pydicom inside. With "error" a warning is raised instead.

    Python's warning filters belong to the process, so one thread at a time is let in.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter(action)
        before, _PYDICOM.disabled = _PYDICOM.disabled, True
        try:
            yield
        finally:
            _PYDICOM.disabled = before
