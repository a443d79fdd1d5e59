"""A worker's process: takes one job after the other, until told to stop.

Run as `python -m rtseg_daemon.daemon.worker --config FILE --name NAME --device DEVICE` by the supervisor.
"""

import argparse
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.bundles import models_of
from rtseg_daemon.cluster.place import files_of
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.lifeline import follow_supervisor, show_life
from rtseg_daemon.daemon.permits import ALWAYS, Permit, WhileRayRests
from rtseg_daemon.errors import CardLost
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.hosts import is_draining
from rtseg_daemon.ledger.leases import Lease, lease_of, new_owner
from rtseg_daemon.ledger.orphans import requeue_unheard
from rtseg_daemon.ledger.wake import JOBS, Bell
from rtseg_daemon.logs import configure, log
from rtseg_daemon.storage import layout_of
from rtseg_daemon.versions import stamp
from rtseg_daemon.work.desk import Desk
from rtseg_daemon.work.job import run_job
from rtseg_daemon.work.loaded import Loaded

IDLE_SECONDS = 0.25
LONGEST_IDLE_SECONDS = 5.0
"""Where the ledger wakes it."""

CARD_LOST_STATUS = 3
"""Exit status of a worker whose card failed: the supervisor starts another and charges the job one attempt."""


def work(desk: Desk, stop: threading.Event, permit: Permit = ALWAYS) -> None:
    """Job after job until stopped, as long as `permit` is given. The job at hand is finished first.

    The bundles of all routes are loaded before the first job where `permit.warm`, else by the jobs that need them. They
    are let go when the permit is not given for `permit.patience_seconds`.
    """
    stamps: dict[str, Hashable] | None = None
    given_at = time.monotonic()
    bell = Bell(desk.engine, JOBS)
    while not stop.is_set():
        given, lease = is_given(desk, permit), None
        if given:
            given_at = time.monotonic()
            if permit.warm:
                stamps = load(desk) if stamps is None else follow(desk.loaded, desk.config, stamps)
                permit.note(True)
            lease = claim(desk, permit)
        elif given is not None and time.monotonic() - given_at >= permit.patience_seconds:
            stamps = None
            permit.note(False)
            desk.loaded.let_go()
        if lease is None:
            bell.wait(stop, IDLE_SECONDS, LONGEST_IDLE_SECONDS)
            continue
        try:
            run_job(desk, lease)
        except CardLost as error:
            log().error("this worker ends, the next one takes the job up again", job=lease.job_id, reason=str(error))
            raise SystemExit(CARD_LOST_STATUS) from error


def is_given(desk: Desk, permit: Permit) -> bool | None:
    """Whether jobs may be taken now. None where the ledger does not tell.

    What an earlier claim may have taken unheard goes back to the queue first: its supervisor takes this worker to be at
    it, and so nobody else would take it up.
    """
    try:
        if desk.in_doubt.is_set():
            with writing(desk.engine) as session:
                requeue_unheard(session, desk.owner)
            desk.in_doubt.clear()
        if permit is ALWAYS:
            return True
        with reading(desk.engine) as session:
            return permit.given(session)
    except SQLAlchemyError as error:
        log().error("the ledger does not say whether jobs may be taken; trying again", exc_info=error)
        return None


def load(desk: Desk) -> dict[str, Hashable]:
    """Load the bundles of all routes. Returns their stamps."""
    names = list(dict.fromkeys(name for route in desk.config.routes for name in route.everything))
    models = models_of(desk.config)
    stamps: dict[str, Hashable] = {name: stamp(models, name) for name in names}
    desk.loaded.warm(desk.config, names)
    return stamps


def follow(loaded: Loaded, config: Config, stamps: Mapping[str, Hashable]) -> dict[str, Hashable]:
    """Load what was activated or installed since these `stamps`, between two jobs. Returns those of now, by bundle."""
    models = models_of(config)
    now: dict[str, Hashable] = {name: stamp(models, name) for name in stamps}
    if changed := [name for name in now if now[name] != stamps[name]]:
        log().warning("another version of a bundle serves from the next job on", bundles=changed)
        loaded.warm(config, changed)
    return now


def claim(desk: Desk, permit: Permit = ALWAYS) -> Lease | None:
    """The next job waiting, leased, or None if there is none, none may be taken, or the ledger cannot be written.

    Whether any may be taken is asked in the transaction that claims, since that one may wait long for other writers.
    Without an answer to its commit `desk.in_doubt` stays set, until `is_given` has put things in order.
    """
    try:
        with reading(desk.engine) as session:
            if jobs.next_waiting(session) is None or is_draining(session, desk.config.host_name):
                return None  # looked at first without keeping any writer waiting
        desk.in_doubt.set()
        with writing(desk.engine) as session:
            free = permit.given(session) and not is_draining(session, desk.config.host_name)
            job = jobs.claim_job(session, desk.owner) if free else None
        desk.in_doubt.clear()
        return lease_of(job) if job else None
    except SQLAlchemyError as error:
        log().error("no job can be claimed now; trying again", exc_info=error)
        return None


def desk_of(config: Config, name: str, device: str, owner: str | None = None) -> Desk:
    """What the worker `name` on `device` works with, and leases jobs as `owner`. Nothing is loaded yet."""
    compute = config.compute.model_copy(update={"device": device})
    loaded = Loaded(compute, layout_of(config).engine_cache)
    engine = open_ledger(config.database_url, existing=True)
    files = files_of(config, engine, name)
    return Desk(engine, config, loaded, owner or new_owner(name, config.host_name), files)


def main(arguments: Sequence[str] | None = None) -> None:
    """The worker's process, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="rtseg_daemon.daemon.worker")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--name", default="worker-0")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    config = load_config(options.config)
    configure(config.logging, options.name)
    stop = follow_supervisor()
    show_life(layout_of(config).free_bytes)  # the supervisor times the steps of a job by themselves
    permit = ALWAYS if config.compute.cluster is None else WhileRayRests()
    work(desk_of(config, options.name, options.device), stop, permit)


if __name__ == "__main__":
    main()
