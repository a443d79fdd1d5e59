"""Asking the PACS how many images a series has, where a query peer is configured: the surest sign of completeness."""

import threading
import time
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import QueryPeer
from rtseg_daemon.dicom.association import Local, Waits
from rtseg_daemon.dicom.query import count_images
from rtseg_daemon.errors import DeliveryError
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.series import expect, last_instance_id, open_series
from rtseg_daemon.logs import log

TURN_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 5.0
ASK_AGAIN_SECONDS = 30.0
DOWN_SECONDS = 60.0
WAITS = Waits(connect=5.0, associate=10.0, answer=20.0)


@dataclass
class Asked:
    """When a series was last seen to change, and when the PACS was last asked about it (monotonic seconds)."""

    newest: int
    changed: float
    asked: float = float("-inf")


@dataclass
class Inquiry(threading.Thread):
    """A thread of its own: a PACS that does not answer must not hold up the sweep."""

    engine: Engine
    config: Config
    stop: threading.Event
    seen: dict[int, Asked] = field(default_factory=dict)
    down_until: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(name="inquiry", daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        while not self.stop.wait(TURN_SECONDS):
            try:
                self.turn(time.monotonic())
            except (SQLAlchemyError, OSError) as error:
                log().error("the PACS could not be asked; trying again", exc_info=error)
            except Exception as error:  # noqa: BLE001 - a stranger's answer must not end the questions
                log().critical("an inquiry broke", exc_info=error)

    def turn(self, now: float) -> None:
        """Ask about every open series that has been silent for a moment: the PACS may still be sending."""
        with reading(self.engine) as session:
            found = [
                (series.id, series.study_instance_uid, series.series_instance_uid, last_instance_id(session, series.id))
                for series in open_series(session)
            ]
        self.seen = {key: asked for key, asked in self.seen.items() if key in {series_id for series_id, *_ in found}}
        for series_id, study_uid, series_uid, newest in found:
            if self.is_due(series_id, newest, now):
                self.ask(series_id, study_uid, series_uid, newest)

    def is_due(self, series_id: int, newest: int, now: float) -> bool:
        """Whether to ask now; notes what was seen."""
        known = self.seen.get(series_id)
        if known is None or known.newest != newest:
            known = self.seen[series_id] = Asked(newest, now)
        silent = now - known.changed >= min(LONGEST_PAUSE_SECONDS, self.config.series.quiet_seconds / 4)
        if not silent or now - known.asked < ASK_AGAIN_SECONDS:
            return False
        known.asked = now
        return True

    def ask(self, series_id: int, study_uid: str, series_uid: str, newest: int) -> None:
        """Ask one peer after the other until one knows the series; what it says goes into the ledger."""
        for peer in self.config.query:
            if time.monotonic() < self.down_until.get(peer.name, 0.0):
                continue
            count = self.count(peer, study_uid, series_uid)
            if count is not None:
                with writing(self.engine) as session:
                    expect(session, series_id, count, newest)
                return

    def count(self, peer: QueryPeer, study_uid: str, series_uid: str) -> int | None:
        local = Local(self.config.dicom.ae_title, self.config.dicom.tls)
        try:
            return count_images(local, peer, study_uid, series_uid, WAITS)
        except DeliveryError as error:
            self.down_until[peer.name] = time.monotonic() + DOWN_SECONDS
            log().warning("a query peer cannot be asked; series wait for silence", peer=peer.name, reason=str(error))
            return None
