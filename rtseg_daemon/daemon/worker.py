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
from rtseg_daemon.errors import CardLost
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.ledger.hosts import is_draining
from rtseg_daemon.ledger.leases import Lease, lease_of, new_owner
from rtseg_daemon.ledger.wake import JOBS, Bell
from rtseg_daemon.logs import configure, log
from rtseg_daemon.storage import Layout
from rtseg_daemon.versions import stamp
from rtseg_daemon.work.job import Desk, run_job
from rtseg_daemon.work.loaded import Loaded

IDLE_SECONDS = 0.25
LONGEST_IDLE_SECONDS = 5.0
"""Where the ledger wakes it."""

CARD_LOST_STATUS = 3
"""Exit status of a worker whose card failed: the supervisor starts another and charges the job one attempt."""


def work(desk: Desk, stop: threading.Event) -> None:
    """Load the bundles of all routes, then job after job until stopped. The job at hand is finished first."""
    models = models_of(desk.config)
    names = list(dict.fromkeys(name for route in desk.config.routes for name in route.everything))
    stamps: dict[str, Hashable] = {name: stamp(models, name) for name in names}
    desk.loaded.warm(desk.config, names)
    bell = Bell(desk.engine, JOBS)
    while not stop.is_set():
        stamps = follow(desk.loaded, desk.config, stamps)
        lease = claim(desk)
        if lease is None:
            bell.wait(stop, IDLE_SECONDS, LONGEST_IDLE_SECONDS)
            continue
        try:
            run_job(desk, lease)
        except CardLost as error:
            log().error("this worker ends, the next one takes the job up again", job=lease.job_id, reason=str(error))
            raise SystemExit(CARD_LOST_STATUS) from error


def follow(loaded: Loaded, config: Config, stamps: Mapping[str, Hashable]) -> dict[str, Hashable]:
    """Load what was activated or installed since these `stamps`, between two jobs. Returns those of now, by bundle."""
    models = models_of(config)
    now: dict[str, Hashable] = {name: stamp(models, name) for name in stamps}
    if changed := [name for name in now if now[name] != stamps[name]]:
        log().warning("another version of a bundle serves from the next job on", bundles=changed)
        loaded.warm(config, changed)
    return now


def claim(desk: Desk) -> Lease | None:
    """The oldest job waiting, leased, or None if there is none or the ledger cannot be written now."""
    try:
        with reading(desk.engine) as session:
            if jobs.next_waiting(session) is None or is_draining(session, desk.config.host_name):
                return None
        now = time.monotonic()
        off = [job_id for job_id, until in desk.waiting_for_host.items() if until > now]
        with writing(desk.engine) as session:
            job = jobs.claim_job(session, desk.owner, but=off)
            return lease_of(job) if job else None
    except SQLAlchemyError as error:
        log().error("no job can be claimed now; trying again", exc_info=error)
        return None


def desk_of(config: Config, name: str, device: str) -> Desk:
    """What the worker `name` on `device` works with. Nothing is loaded yet."""
    compute = config.compute.model_copy(update={"device": device})
    loaded = Loaded(compute, Layout(config.storage.directory).engine_cache)
    engine = open_ledger(config.database_url, existing=True)
    files = files_of(config, engine, name)
    return Desk(engine, config, loaded, new_owner(name, config.host_name), files)


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
    show_life(Layout(config.storage.directory).free_bytes)  # the supervisor times the steps of a job by themselves
    work(desk_of(config, options.name, options.device), stop)


if __name__ == "__main__":
    main()
