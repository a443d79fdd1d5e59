"""What every page and answer of the dashboard needs: configuration, storage, ledger, bundles, and the time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from rtseg_daemon.bundles import models_of
from rtseg_daemon.config.file import Config
from rtseg_daemon.storage import Layout
from rtseg_daemon.stored import Files, OwnFiles


@dataclass(frozen=True)
class Place:
    """Where the dashboard works. A session of the ledger is opened where it is used, since none may cross a thread."""

    config: Config
    layout: Layout
    engine: Engine
    now: Callable[[], float] = time.time
    other_files: Files | None = None
    """Reads files of other hosts too. None where this host is alone."""

    @property
    def files(self) -> Files:
        """Where stored files can be read."""
        return self.other_files or OwnFiles(self.layout)

    @property
    def models(self) -> Path:
        """Where the bundles lie."""
        return models_of(self.config)


def place_of(request: Request) -> Place:
    """The place that the application was made for."""
    found = request.app.state.place
    assert isinstance(found, Place)
    return found


Here = Annotated[Place, Depends(place_of)]
