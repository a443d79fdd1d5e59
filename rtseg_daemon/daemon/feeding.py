"""What the launcher does, turn by turn: it sees to it that each card in Ray has a worker, and says so in the ledger."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.orm import Session

from rtseg_daemon.cluster.ray_line import Line
from rtseg_daemon.config.file import Config
from rtseg_daemon.daemon.placing import Place, judged, lost_owners, places, superfluous
from rtseg_daemon.daemon.watch import Watch
from rtseg_daemon.errors import ClusterError
from rtseg_daemon.ledger import supervision
from rtseg_daemon.ledger.cards import HOST_MARK, READY, REFUSED, Card, CardsInRay, cards_in_ray, note_cards
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import reading, still_ours
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.leases import database_moment
from rtseg_daemon.ledger.orphans import worker_lost
from rtseg_daemon.logs import log

PATIENCE_SECONDS = 60.0
"""So long jobs wait for a card that starts anew, before workers of the daemons load their bundles."""
AWAY_SECONDS = 15.0
"""Until the launcher of this host tries a head again. Another host's may try meanwhile."""
ANEW_SECONDS = 60.0
"""Until a card is started anew that refuses to work: its node may have been mended."""
START_SECONDS = 10.0
"""Until a card is started again of which nothing is heard."""
TELL_SECONDS = 60.0
"""A head that is away so long is told to a person."""


@dataclass
class Feeding:
    """The launcher's work and what it remembers between two turns.

    Args:
        connect: a line to Ray. Raises ClusterError.
        version: of this package.
        arguments: what every actor is given after its number, node and kind.
    """

    duty: OnDuty
    config: Config
    connect: Callable[[], Line]
    version: str
    arguments: tuple[str, ...] = ()
    line: Line | None = None
    seen: CardsInRay | None = None
    """What this launcher wrote last. None while it is not on duty."""
    retry_at: float = float("-inf")
    heard_at: dict[str, float] = field(default_factory=dict)
    anew_at: dict[str, float] = field(default_factory=dict)
    started_at: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        timeout = self.config.jobs.timeout_seconds
        self.watch = Watch(timeout, stall_seconds=max(60.0, timeout / 3))

    def turn(self) -> None:
        """One look, and what follows from it. Raises SQLAlchemyError where the ledger cannot be used."""
        if time.monotonic() < self.retry_at:
            return
        if not self.duty.ours():
            self.rest()
            return
        try:
            self.feed()
        except ClusterError as error:
            self.lose_head(str(error))

    def rest(self) -> None:
        """Another host does it, or nobody."""
        self.seen = None
        if self.line is not None:
            self.line.close()
            self.line = None

    def feed(self) -> None:
        """Raises ClusterError where Ray cannot be used."""
        if self.seen is None:
            self.begin()
        if self.line is None:
            self.line = self.connect()
            still_ours(self.duty.ledger)  # that may have taken longer than the duty lasts
        assert self.duty.token is not None
        said = self.line.ask("look", owner=self.duty.owner, token=self.duty.token, version=self.version)
        wanted = places(said["nodes"])
        self.put_right(self.line, wanted, said["cards"])
        self.write(wanted, said["cards"])
        self.stop_overdue(self.line)

    def begin(self) -> None:
        """On duty from now on. A head that was away for the last launcher is away until it answers."""
        with self.duty.writing() as session:
            before, now = cards_in_ray(session), database_moment(session)
            cards = before.cards if before else ()
            away = before is not None and before.head == "away"
            head, patience = ("away", 0.0) if away else ("connecting", now + PATIENCE_SECONDS)
            since = before.since if before is not None and away else now
            self.seen = CardsInRay(head, since, self.address, before.detail if before else "", patience, cards)
            note_cards(session, self.seen)

    @property
    def address(self) -> str:
        return str(self.config.compute.cluster)

    def put_right(self, line: Line, wanted: list[Place], there: dict[str, Any]) -> None:
        """Start the actors that are missing, end those that belong nowhere, and start refused ones anew."""
        now = time.monotonic()
        for name in superfluous(wanted, there):
            line.ask("end", name=name, again=False)
        for place in wanted:
            said = there.get(place.name)
            if said is not None and (said.get("fault") or "dead" in said) and self.is_due(place.name, now):
                if self.is_at_work(said.get("owner", "")):
                    continue
                line.ask("end", name=place.name, again=False)
                said = None
            if said is None and now - self.started_at.get(place.name, float("-inf")) >= START_SECONDS:
                self.started_at[place.name] = now
                arguments = [place.number, place.node, place.kind, *self.arguments]
                line.ask("start", name=place.name, node=place.node_id, kind=place.kind, arguments=arguments)

    def is_due(self, name: str, now: float) -> bool:
        """Whether a card that refuses to work is to be started anew: not at once, and not more often than that."""
        due = now - self.anew_at.setdefault(name, now) >= ANEW_SECONDS
        if due:
            self.anew_at[name] = now
        return due

    def is_at_work(self, owner: str) -> bool:
        """Whether a worker is at a job. One of the version before ends it in peace."""
        with reading(self.duty.ledger) as session:
            return any(job.owner == owner for job in supervision.running_jobs(session))

    def write(self, wanted: list[Place], said: dict[str, Any]) -> None:
        """How every card is, and what it left behind where its worker is gone. Nothing is written where all is as it
        was."""
        assert self.seen is not None
        before = {card.name: card for card in self.seen.cards}
        moment = time.monotonic()
        self.heard_at = {place.name: self.heard_at.get(place.name, moment) for place in wanted}
        self.heard_at |= {name: moment for name, answer in said.items() if "owner" in answer and name in self.heard_at}
        with reading(self.duty.ledger) as session:
            now = database_moment(session)
        cards = tuple(
            judged(place, before.get(place.name), said.get(place.name), moment - self.heard_at[place.name], now)
            for place in wanted
        )
        lost = lost_owners(self.seen.cards, cards)
        took_jobs = {card.owner for card in self.seen.cards if card.state == READY}
        worth_waiting = self.seen.head == "up" and any(owner in took_jobs for owner, _ in lost)
        patience = now + PATIENCE_SECONDS if worth_waiting else self.seen.patience_until
        since = self.seen.since if self.seen.head == "up" else now
        seen = CardsInRay("up", since, self.address, "", patience, cards)
        if seen == self.seen:
            return
        with self.duty.writing() as session:
            for owner, reason in lost:
                self.charge(session, owner, reason)
            for card in cards:
                self.tell_refused(session, card)
            note_cards(session, seen)
        self.tell_changes(seen)
        self.seen = seen

    def charge(self, session: Session, owner: str, reason: str) -> None:
        """The job of a worker that is gone is taken up again at once."""
        for job in worker_lost(session, owner, reason, self.config.jobs.max_attempts):
            log().error("a card in Ray lost its job", job=job.id, state=job.state, attempts=job.attempts, reason=reason)

    def tell_refused(self, session: Session, card: Card) -> None:
        """A person hears once a day of a card that does not work."""
        if card.state == REFUSED:
            message = f"card {card.number} of {card.node} in Ray takes no jobs: {card.detail}"
            raise_alarm(session, "ray", f"ray:{card.node}:{card.number}:{int(time.time() // 86400)}", message)

    def tell_changes(self, seen: CardsInRay) -> None:
        before = {card.name: card.state for card in self.seen.cards} if self.seen else {}
        for card in seen.cards:
            if before.get(card.name) != card.state:
                log().info("a card in Ray", node=card.node, card=card.number, state=card.state, detail=card.detail)

    def stop_overdue(self, line: Line) -> None:
        """A card whose job does not come on is ended, and Ray starts it anew."""
        with reading(self.duty.ledger) as session:
            running = [job for job in supervision.running_jobs(session) if f"@{HOST_MARK}" in job.owner]
        for job, reason in self.watch.overdue(running, time.monotonic()):
            log().error("a job in Ray is overdue; its card is started anew", job=job.job_id, reason=reason)
            with self.duty.writing() as session:
                self.charge(session, job.owner, reason)
            for card in self.seen.cards if self.seen else ():
                if card.owner == job.owner:
                    line.ask("end", name=card.name, again=True)

    def lose_head(self, reason: str) -> None:
        """Ray does not answer: workers of the daemons take jobs from now on, and another host may try its luck."""
        if self.line is not None:
            self.line.close()
            self.line = None
        assert self.seen is not None
        if self.seen.head != "away":
            log().error("the cards in Ray are away; workers of the daemons take the jobs", reason=reason)
        with self.duty.writing() as session:
            now = database_moment(session)
            since = self.seen.since if self.seen.head == "away" else now
            self.seen = replace(self.seen, head="away", since=since, detail=reason, patience_until=0.0)
            note_cards(session, self.seen)
            if now - since >= TELL_SECONDS:
                day = int(time.time() // 86400)
                raise_alarm(session, "ray", f"ray:{day}", f"the cards in Ray are away: {reason}")
        self.seen = None
        self.duty.lay_down()
        self.retry_at = time.monotonic() + AWAY_SECONDS

    def stop(self) -> None:
        """In order: another host may take over at once."""
        self.rest()
        self.duty.lay_down()
