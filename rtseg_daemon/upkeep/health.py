"""Is everything as it should be? From what is seen of the daemon to sentences that say what is wrong and what to do.

Pure but for `stopped`. `rtseg-daemon status` gathers the facts, also where no daemon answers any more.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtseg_daemon.dicom.validity import EndOfCertificate
from rtseg_daemon.ledger.cards import REFUSED, SILENT, CardsInRay
from rtseg_daemon.ledger.supervision import Pulse

SILENT_SECONDS = 20.0
"""A child beats every second."""
NO_PULSE_SECONDS = 60.0
"""The supervisor writes its pulse every five seconds, if the ledger lets it."""


@dataclass(frozen=True)
class Observations:
    """What `status` found.

    Args:
        running: a daemon holds the storage lock.
        processes: its children, as `views.process_shape` shows them.
        pulse: what the supervisor last said of itself, or None where there is no word.
        now: monotonic seconds, by which the pulse is judged.
        read_only: the storage's file system takes no writes.
        ledger: why the ledger cannot be used, empty where it can.
        certificates: our own and the CA's ends.
        stopped: process ids among ours that are stopped by a signal.
        ray: cards in Ray, where this daemon has any.
        unsent: alarms that a channel did not take, and its last answer.
    """

    running: bool
    processes: Sequence[Mapping[str, Any]] = ()
    pulse: Pulse | None = None
    now: float = 0.0
    read_only: bool = False
    ledger: str = ""
    certificates: Sequence[EndOfCertificate] = ()
    stopped: frozenset[int] = field(default_factory=frozenset)
    unsent: tuple[int, str] = (0, "")
    ray: CardsInRay | None = None


def problems(facts: Observations) -> list[str]:
    """Everything that is wrong, worst first, empty for a daemon that runs well."""
    return [problem for look in LOOKS for problem in look(facts)]


def storage_problems(facts: Observations) -> Iterator[str]:
    if facts.read_only:
        yield (
            "storage.directory lies on a file system that takes no writes: nothing is received. "
            "Look at the disk (dmesg), mount it for writing, then restart the service"
        )
    if facts.ledger:
        yield f"the ledger cannot be used: {facts.ledger}"


def process_problems(facts: Observations) -> Iterator[str]:
    if not facts.running:
        yield "the daemon is not running; start it with: rtseg-daemon serve"
        return
    for process in facts.processes:
        if process["state"] != "running":
            yield f"{process['name']} is {process['state']} ({process['detail'] or 'no reason given'}); see the log"
        elif process["pid"] in facts.stopped:
            yield f"{process['name']} is stopped by a signal; go on with: kill -CONT {process['pid']}"


def pulse_problems(facts: Observations) -> Iterator[str]:
    pulse = facts.pulse
    if not facts.running or pulse is None:
        return
    age = facts.now - pulse.at
    if pulse.pid in facts.stopped:
        yield f"the supervisor is stopped by a signal; go on with: kill -CONT {pulse.pid}"
    elif age > NO_PULSE_SECONDS:
        yield (
            f"the supervisor gave no sign of life for {age:.0f} s: it stands still, or cannot write the ledger. "
            "Look at the disk of storage.directory (full? away?) and restart the service"
        )
    for name, seconds in pulse.silent.items():
        if seconds > SILENT_SECONDS:
            yield f"{name} gave no sign of life for {seconds:.0f} s; the supervisor restarts it if this goes on"
    for name, seconds in pulse.overdue.items():
        yield f"the periodic work {name!r} has not ended without an error for {seconds:.0f} s; the log says why"


def certificate_problems(facts: Observations) -> Iterator[str]:
    for end in facts.certificates:
        if end.seconds_left <= 0:
            yield f"{end.sentence()}; nobody can connect by TLS until it is replaced"


def alarm_problems(facts: Observations) -> Iterator[str]:
    count, why = facts.unsent
    if count and why:
        alarms = "1 alarm was" if count == 1 else f"{count} alarms were"
        yield f"{alarms} not sent yet ({why}); mend that, and see with: rtseg-daemon alarms test"


def ray_problems(facts: Observations) -> Iterator[str]:
    if facts.ray is None:
        return
    if facts.ray.head == "away":
        yield f"the cards in Ray are away, and workers of the daemons take their jobs: {facts.ray.detail}"
        return
    for card in facts.ray.cards:
        if card.state in (REFUSED, SILENT):
            yield f"card {card.number} of {card.node} in Ray takes no jobs: {card.detail}"


LOOKS = (storage_problems, process_problems, pulse_problems, certificate_problems, ray_problems, alarm_problems)


def stopped(pids: Iterable[int | None]) -> frozenset[int]:
    """Those of our processes that a signal or a debugger has stopped, as Linux tells it."""
    return frozenset(pid for pid in pids if pid is not None and state_of(pid) in "Tt")


def state_of(pid: int) -> str:
    """The letter of proc(5), or a question mark where nobody may look or there is nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (OSError, IndexError):
        return "?"
