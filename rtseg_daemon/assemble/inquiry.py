"""Asking the PACS how many images a series has, where a query peer is configured: the surest sign of completeness.

A PACS may itself be receiving still: during a pause of a few seconds it has as many images as we have, though more are
to come. So its count may end a wait only if it was asked when the series had fallen silent, and is the same again
after a whole quiet time in which nothing was heard of the series.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import QueryPeer
from rtseg_daemon.dicom.association import Local, Waits
from rtseg_daemon.dicom.query import count_images
from rtseg_daemon.errors import DeliveryError
from rtseg_daemon.ledger.associations import listening_since
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.schema import Series
from rtseg_daemon.ledger.series import expect, last_instance_id, open_series
from rtseg_daemon.logs import log

TURN_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 5.0
DOWN_SECONDS = 60.0
WAITS = Waits(connect=5.0, associate=10.0, answer=20.0, total=60.0)

Count = tuple[str, int]
"""The name of a query peer, and how many images it has."""


@dataclass(frozen=True)
class OpenSeries:
    """An open series as the ledger has it.

    Args:
        newest: its newest instance, or 0 if there is none.
        heard: when it was last heard of. Duplicates and refusals count.
        listening_since: when listening last began. Silence before that means nothing.
    """

    series_id: int
    study_uid: str
    series_uid: str
    newest: int
    heard: float
    listening_since: float

    @property
    def signs(self) -> tuple[float, ...]:
        return self.newest, self.heard, self.listening_since


@dataclass
class Silence:
    """One silence of a series, and what the PACS said during it (monotonic seconds)."""

    signs: tuple[float, ...]
    since: float
    asked: float = float("-inf")
    count: Count | None = None
    same_since: float = float("inf")
    """When this count was given first, and no other since."""

    def is_steady(self, count: Count, asked: float, quiet_seconds: float) -> bool:
        """Note an answer. Returns whether it is the same as so many seconds before."""
        if count != self.count:
            self.count, self.same_since = count, asked
        return asked - self.same_since >= quiet_seconds


@dataclass
class Inquiry(threading.Thread):
    """A thread of its own: a PACS that does not answer must not hold up the sweep."""

    engine: Engine
    config: Config
    stop: threading.Event
    clock: Callable[[], float] = time.monotonic
    silences: dict[int, Silence] = field(default_factory=dict)
    down_until: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(name="inquiry", daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        while not self.stop.wait(TURN_SECONDS):
            try:
                self.turn()
            except (SQLAlchemyError, OSError) as error:
                log().error("the PACS could not be asked; trying again", exc_info=error)
            except Exception as error:  # noqa: BLE001 - a stranger's answer must not end the questions
                log().critical("an inquiry broke", exc_info=error)

    def turn(self) -> None:
        """Ask about every open series that has been silent for a moment: the PACS may still be sending."""
        now = self.clock()
        with reading(self.engine) as session:
            since = listening_since(session)
            found = [found_in(session, series, since) for series in open_series(session)]
        open_now = {one.series_id for one in found}
        self.silences = {key: silence for key, silence in self.silences.items() if key in open_now}
        for one in found:
            silence = self.silence_of(one, now)
            if self.is_due(silence, now):
                silence.asked = self.clock()  # asking about the series before it may have taken long
                self.ask(one, silence)

    def silence_of(self, found: OpenSeries, now: float) -> Silence:
        """The series' present silence, or a new one where something was heard of it."""
        silence = self.silences.get(found.series_id)
        if silence is None or silence.signs != found.signs:
            silence = self.silences[found.series_id] = Silence(found.signs, now)
        return silence

    def is_due(self, silence: Silence, now: float) -> bool:
        """Whether to ask: first after a short pause, then once in each quiet time."""
        quiet = self.config.series.quiet_seconds
        return now - silence.since >= min(LONGEST_PAUSE_SECONDS, quiet / 4) and now - silence.asked >= quiet

    def ask(self, found: OpenSeries, silence: Silence) -> None:
        """Ask one peer after the other until one knows the series. What it says goes into the ledger."""
        for peer in self.config.query:
            if self.clock() < self.down_until.get(peer.name, 0.0):
                continue
            count = self.count(peer, found.study_uid, found.series_uid)
            if count is not None:
                steady = silence.is_steady((peer.name, count), silence.asked, self.config.series.quiet_seconds)
                with writing(self.engine) as session:
                    expect(session, found.series_id, count, steady=steady, newest=found.newest, heard=found.heard)
                return

    def count(self, peer: QueryPeer, study_uid: str, series_uid: str) -> int | None:
        local = Local(self.config.dicom.ae_title, self.config.dicom.tls)
        try:
            return count_images(local, peer, study_uid, series_uid, WAITS)
        except DeliveryError as error:
            self.down_until[peer.name] = self.clock() + DOWN_SECONDS
            log().warning("a query peer cannot be asked; series wait for silence", peer=peer.name, reason=str(error))
            return None


def found_in(session: Session, series: Series, since: float) -> OpenSeries:
    newest = last_instance_id(session, series.id)
    return OpenSeries(
        series.id, series.study_instance_uid, series.series_instance_uid, newest, series.last_received_at, since
    )
