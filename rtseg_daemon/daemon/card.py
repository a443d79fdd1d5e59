"""A card of a Ray node: takes jobs from the ledger as a daemon's worker does, on a launcher's behalf.

Nothing of a job passes through Ray. The launcher says every second that it is on duty, and hears how the card is.
"""

import fcntl
import os
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.permits import OnBehalf
from rtseg_daemon.daemon.worker import desk_of, work
from rtseg_daemon.errors import ConfigError, RtsegError
from rtseg_daemon.ledger.cards import HOST_MARK
from rtseg_daemon.ledger.cluster_tables import Host
from rtseg_daemon.ledger.engine import open_ledger, reading
from rtseg_daemon.ledger.leases import new_owner
from rtseg_daemon.ledger.loss import hindrance
from rtseg_daemon.ledger.migrate import require_current
from rtseg_daemon.logs import configure, describe, log
from rtseg_daemon.storage import Layout, identity_of, layout_of
from rtseg_daemon.work.desk import Desk

PACKAGE = "rtseg-daemon"
CONFIG_VARIABLE = "RTSEG_CONFIG"
"""Where a node's own configuration lies: in the environment of its `ray start`."""
AGAIN_SECONDS = 5.0
"""Until a card that cannot work tries again."""
LONELY_SECONDS = 600.0
"""A card that no launcher asked for anything so long ends itself."""
GPU = "GPU"


class Card:
    """What an actor hands on to. Ray calls it in threads of its own, its worker has one too.

    Args:
        number: among the cards of its node.
        node: the node's name.
        kind: the resource that it is for Ray.
        config_file: the launcher's own configuration, where the node names none.
    """

    def __init__(self, number: int, node: str, kind: str, config_file: str) -> None:
        self.number, self.kind = number, kind
        self.config_file = Path(os.environ.get(CONFIG_VARIABLE) or config_file)
        self.owner = new_owner(f"card-{number}", HOST_MARK + re.sub(r"[^A-Za-z0-9._-]", "-", node))
        self.permit = Followed()
        self.fault = ""
        self.prepare()
        threading.Thread(target=self._live, name="card", daemon=True).start()

    def prepare(self) -> None:
        """For tests, which have another network."""

    def follow(self, owner: str, token: int, theirs: str) -> dict[str, Any]:
        """A launcher of the package's version `theirs` is on duty under this number. Returns how the card is."""
        ours = version(PACKAGE)
        other = other_version(ours, theirs)
        self.permit.launcher = None if other else (owner, token)
        self.permit.asked_at = time.monotonic()
        fault = other or self.fault
        return {"owner": self.owner, "version": ours, "fault": fault, "ready": self.permit.loaded and not fault}

    def _live(self) -> None:
        """Until the process ends. Ray starts another one where this one breaks."""
        try:
            work(self._desk(), threading.Event(), self.permit)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the process must not stay without its worker
            log().error("the card's worker ends", reason=describe(error), exc_info=error)
        os._exit(1)

    def _desk(self) -> Desk:
        """What the worker works with, as soon as the node can work at all."""
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets 1, and a network's threads are compute.threads
        while True:
            try:
                return self._try_desk()
            except RtsegError as error:
                self.fault = str(error)
            except SQLAlchemyError as error:
                self.fault = f"the ledger cannot be reached ({hindrance(error)})"
            except OSError as error:
                self.fault = f"{error.filename or 'the node'}: {error.strerror}"
            self.permit.end_if_lonely()
            time.sleep(AGAIN_SECONDS)

    def _try_desk(self) -> Desk:
        config = load_config(self.config_file)
        configure(config.logging, self.owner.partition("@")[0])
        require_hosts(config, self.config_file)
        layout = layout_of(config)
        layout.create()
        engine = open_ledger(config.database_url)
        try:
            require_fitting(engine, config, layout)
        finally:
            engine.dispose()
        device = "cuda" if self.kind == GPU else config.compute.device
        self.fault = ""
        return desk_of(config, own_shelf(layout), device, self.owner)


@dataclass
class Followed(OnBehalf):
    """The card's permit. It sees whether anybody still asks."""

    asked_at: float = field(default_factory=time.monotonic)

    def given(self, session: Session) -> bool:
        self.end_if_lonely()
        return super().given(session)

    def end_if_lonely(self) -> None:
        """End the actor for good where no launcher came for long: the daemons have no cards in Ray any more."""
        if time.monotonic() - self.asked_at > LONELY_SECONDS:
            ray: Any = sys.modules["ray"]  # an actor's process has it
            log().warning("no launcher asks for this card any more; it ends")
            ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


def other_version(ours: str, theirs: str) -> str:
    """A sentence where node and launcher have other versions of the package, else nothing."""
    if ours == theirs:
        return ""
    return (
        f"this node runs {PACKAGE} {ours}, and the daemon that asks {theirs}: install {theirs} on the node, whose card "
        "is then started anew, or update the daemon"
    )


def require_hosts(config: Config, file: Path) -> None:
    """Raise ConfigError where the node cannot reach ledger or files."""
    if not config.files_host or not config.database_url.startswith("postgresql"):
        raise ConfigError(
            f"{file} on this node needs the ledger's database.url, and a cluster.tls of its own (or storage.shared)"
        )


def require_fitting(engine: Engine, config: Config, layout: Layout) -> None:
    """Raise RtsegError where the ledger has another schema, or a daemon with another storage has this node's name."""
    require_current(engine)
    with reading(engine) as session:
        host = session.get(Host, config.host_name)
        if host is not None and host.storage != identity_of(layout):
            raise ConfigError(
                f"a daemon is called {config.host_name} too, and has another storage directory; give this node a "
                "database.host_name of its own"
            )


def own_shelf(layout: Layout) -> str:
    """The name of a shelf that no other process of this storage has: its lock is ours until the process ends."""
    layout.shelves.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = 0
    while True:
        lock = os.open(layout.shelves / f"card-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            number += 1
            continue
        return f"card-{number}"
