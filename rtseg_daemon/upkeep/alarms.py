"""Alarms on their way: raised in the ledger by whoever sees something, sent from here by every configured channel."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Engine, delete, select

from rtseg_daemon.config.sections import Alarms
from rtseg_daemon.ledger.engine import reading, still_ours, writing
from rtseg_daemon.ledger.schema import Alarm, Setting
from rtseg_daemon.logs import log
from rtseg_daemon.upkeep.channels import FAILURES, AlarmChannel, channels, failure

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 1800.0


@dataclass
class Pauses:
    """How long each channel is left alone after it failed: twice as long each time, by a clock that no one can set."""

    now: Callable[[], float] = time.monotonic
    failures: dict[str, int] = field(default_factory=dict)
    until: dict[str, float] = field(default_factory=dict)

    def over(self, channel: str) -> bool:
        return self.now() >= self.until.get(channel, 0.0)

    def succeeded(self, channel: str) -> None:
        self.failures[channel] = 0

    def failed(self, channel: str) -> None:
        count = self.failures[channel] = self.failures.get(channel, 0) + 1
        self.until[channel] = self.now() + min(FIRST_PAUSE_SECONDS * 2.0 ** (count - 1), LONGEST_PAUSE_SECONDS)


PAUSES = Pauses()


def send_pending(engine: Engine, settings: Alarms, pauses: Pauses = PAUSES) -> int:
    """Send what has not been sent by every configured channel. Returns how many now were.

    Each channel for itself: one that is down keeps nothing from the others and is tried again, later and later. What a
    person has acknowledged is not sent any more.
    """
    unsent = select(Alarm).where(Alarm.sent_at.is_(None), Alarm.acknowledged_at.is_(None)).order_by(Alarm.id)
    with reading(engine) as session:
        pending = session.scalars(unsent).all()
    return sum(_send(engine, alarm, settings, pauses) for alarm in pending)


def _send(engine: Engine, alarm: Alarm, settings: Alarms, pauses: Pauses) -> bool:
    if alarm.attempts == 0:
        log().error("alarm", kind=alarm.kind, alarm=alarm.id, message=alarm.message)
    ways = channels(settings)
    with reading(engine) as session:
        told = {name for name in ways if session.get(Setting, told_key(alarm, name))}
    open_ways = [name for name in ways if name not in told and pauses.over(name)]
    if alarm.attempts and ways.keys() - told and not open_ways:
        return False
    failures = {}
    for name in open_ways:
        still_ours(engine)
        failures[name] = tell(ways[name], alarm, pauses)
    told |= {name for name, why in failures.items() if why is None}
    done = told == ways.keys()
    with writing(engine) as session:
        row = session.get_one(Alarm, alarm.id)
        row.attempts += 1
        row.sent_at = time.time() if done else None
        row.error = None if done else "; ".join(filter(None, failures.values())) or row.error
        for name in ways:
            key = told_key(alarm, name)
            if done:
                session.execute(delete(Setting).where(Setting.key == key))
            elif name in told:
                session.merge(Setting(key=key, value="told"))
    return done


def tell(channel: AlarmChannel, alarm: Alarm, pauses: Pauses) -> str | None:
    """None if the channel took the alarm. Else why it did not, which the log says too. The channel then has a pause."""
    try:
        answer = channel.send(alarm)
    except FAILURES as error:
        pauses.failed(channel.name)
        why = failure(channel, error)
        log().warning("an alarm could not be sent; it is tried again", alarm=alarm.id, to=channel.host, error=why)
        return why
    pauses.succeeded(channel.name)
    log().info("an alarm was sent", alarm=alarm.id, channel=channel.name, to=channel.host, answer=answer)
    return None


def told_key(alarm: Alarm, channel: str) -> str:
    """Where the ledger remembers that a channel has an alarm which another one lacks."""
    return f"alarm:{alarm.id}:{channel}"
