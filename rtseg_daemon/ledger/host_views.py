"""Hosts and duties as programs read them."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.cards import HOST_MARK, Card, CardsInRay, cards_in_ray
from rtseg_daemon.ledger.cluster_tables import Duty, Host
from rtseg_daemon.ledger.hosts import SILENT_SECONDS, hosts
from rtseg_daemon.ledger.leases import database_moment, of_host
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.ledger.supervision import processes
from rtseg_daemon.ledger.views import moment


def jobs_on(session: Session, host: str) -> list[int]:
    """Numbers of the jobs that a host is at."""
    query = select(Job.id).where(Job.state == JobState.RUNNING, of_host(host)).order_by(Job.id)
    return list(session.scalars(query))


def worker_shapes(session: Session, host: str, now: float) -> list[dict[str, Any]]:
    """Who works on a host, and at which job: its workers, and whoever else holds a lease there."""
    running = select(Job).where(Job.state == JobState.RUNNING, of_host(host))
    at_work = {str(job.lease_owner).partition("@")[0]: job for job in session.scalars(running)}
    known = {child.name: child.state for child in processes(session, host) if child.name.startswith("worker")}
    return [worker_shape(name, known.get(name, "running"), at_work.get(name), now) for name in sorted(known | at_work)]


def worker_shape(name: str, state: str, job: Job | None, now: float) -> dict[str, Any]:
    """One of them. `lease_seconds`: until somebody else may take its job up, unless it says more."""
    if job is None:
        return {"name": name, "state": state, "job": None, "stage": None, "lease_seconds": None}
    left = None if job.lease_until is None else round(job.lease_until - now, 1)
    return {"name": name, "state": state, "job": job.id, "stage": job.stage, "lease_seconds": left}


def host_shape(session: Session, host: Host) -> dict[str, Any]:
    """One host as `status --json` shows it."""
    now = database_moment(session)
    return {
        "name": host.name,
        "state": state_of(host, now),
        "draining": host.draining,
        "version": host.version,
        "address": host.address,
        "started_at": moment(host.started_at),
        "seen_at": moment(host.seen_at or None),
        "jobs": jobs_on(session, host.name),
        "workers": worker_shapes(session, host.name, now),
        "duties": list(
            session.scalars(select(Duty.name).where(Duty.owner.startswith(f"{host.name}/", autoescape=True)))
        ),
    }


def state_of(host: Host, now: float) -> str:
    """up, draining, stopped (in order), or away where it was not seen for a minute."""
    if not host.seen_at:
        return "stopped"
    if now - host.seen_at > SILENT_SECONDS:
        return "away"
    return "draining" if host.draining else "up"


def card_shapes(session: Session) -> list[dict[str, Any]]:
    """Every card in Ray as `status --json` shows it. `state`: ready, starting, refused, silent, or away with its head.

    Its job is shown as a worker's of a host is.
    """
    seen, now = cards_in_ray(session), database_moment(session)
    if seen is None:
        return []
    running = select(Job).where(Job.state == JobState.RUNNING, Job.lease_owner.contains(f"@{HOST_MARK}"))
    at_work = {job.lease_owner: job for job in session.scalars(running)}
    return [card_shape(seen, card, at_work.get(card.owner), now) for card in seen.cards]


def card_shape(seen: CardsInRay, card: Card, job: Job | None, now: float) -> dict[str, Any]:
    """One of them. While the head is away nobody knows more of a card than its job."""
    up = seen.head == "up"
    return worker_shape(f"card-{card.number}", card.state if up else seen.head, job, now) | {
        "node": card.node,
        "card": card.number,
        "kind": card.kind,
        "since": moment(card.since if up else seen.since),
        "version": card.version,
        "detail": card.detail if up else seen.detail,
    }


def host_shapes(session: Session) -> list[dict[str, Any]]:
    """All hosts, by name. Empty where one machine works alone and never said its name."""
    return [host_shape(session, host) for host in hosts(session)]
