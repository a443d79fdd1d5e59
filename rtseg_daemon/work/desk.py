"""What a worker has at hand for every job."""

import threading
from dataclasses import dataclass, field

from sqlalchemy import Engine

from rtseg_daemon.config.file import Config
from rtseg_daemon.storage import Layout, layout_of
from rtseg_daemon.stored import Files
from rtseg_daemon.work.ahead import Ahead
from rtseg_daemon.work.loaded import Loaded
from rtseg_daemon.work.painter import Painter


@dataclass(frozen=True)
class Desk:
    """What a worker has at hand for every job.

    Args:
        owner: the name under which it leases jobs.
        files: reads a series wherever its files lie.
    """

    engine: Engine
    config: Config
    loaded: Loaded
    owner: str
    files: Files
    ahead: Ahead = field(default_factory=Ahead)
    painter: Painter = field(default_factory=Painter)
    in_doubt: threading.Event = field(default_factory=threading.Event)
    """Set while a claim may have been committed without this worker hearing of it."""

    @property
    def layout(self) -> Layout:
        return layout_of(self.config)
