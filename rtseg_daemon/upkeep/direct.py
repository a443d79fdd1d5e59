"""Alarms that the ledger cannot hold, because it is what they are about: sent at once, from memory."""

import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rtseg_daemon.config.sections import Alarms
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.logs import log
from rtseg_daemon.storage import write_durably
from rtseg_daemon.upkeep.alarms import Pauses, tell
from rtseg_daemon.upkeep.channels import channels

AGAIN_SECONDS = 86400.0
"""An alarm of the same key is not repeated before."""
TURN_SECONDS = 0.5


@dataclass
class DirectAlarms:
    """Sends alarms without the ledger, by every channel, from a thread of its own, each key once a day.

    `folder` holds a file with what was said when, so that a daemon which is started again and again does not repeat
    itself. Where it cannot be written, only this process remembers.
    """

    settings: Alarms
    folder: Path
    pauses: Pauses = field(default_factory=Pauses)
    said: dict[str, float] = field(default_factory=dict)
    owed: list[tuple[str, Alarm]] = field(default_factory=list)
    """(channel, alarm) that the channel has not taken yet."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.file = Path(os.environ.get("RUNTIME_DIRECTORY", str(self.folder))) / "alarms.said"
        with suppress(OSError, ValueError, AttributeError, TypeError):
            self.said = {str(key): float(at) for key, at in json.loads(self.file.read_text()).items()}

    def tell(self, kind: str, key: str, message: str) -> None:
        """Say it in the log and by every channel, unless it was said within a day. Waits for nobody."""
        now = time.time()
        with self.lock:
            if abs(now - self.said.get(key, 0.0)) < AGAIN_SECONDS:
                return
            self.said[key] = now
            log().error("alarm", kind=kind, message=message)
            self.owed += [
                (name, Alarm(kind=kind, at=now, key=key, message=message)) for name in channels(self.settings)
            ]
            if self.thread is None:
                self.thread = threading.Thread(target=self._send, name="direct-alarms", daemon=True)
                self.thread.start()

    def wait(self, seconds: float) -> None:
        """Give what is owed `seconds` to be taken, before the process ends."""
        thread = self.thread
        if thread is not None:
            thread.join(seconds)

    def _send(self) -> None:
        """Until nothing is owed. What was said is remembered after the first attempt: the disk may stand still."""
        self._try_once()
        with suppress(OSError):
            write_durably(self.file, json.dumps(self.said).encode())
        while not self._finished():
            time.sleep(TURN_SECONDS)
            self._try_once()

    def _try_once(self) -> None:
        ways = channels(self.settings)
        for name, alarm in list(self.owed):
            if self.pauses.over(name) and tell(ways[name], alarm, self.pauses) is None:
                self.owed.remove((name, alarm))

    def _finished(self) -> bool:
        with self.lock:
            if not self.owed:
                self.thread = None
            return not self.owed
