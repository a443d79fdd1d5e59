"""What one writer at a time costs: claims per second and the time of each, by database, with and without the lock.

    python bench/writers.py                                   SQLite, and a PostgreSQL server of its own
    python bench/writers.py --url postgresql://USER@HOST/DB   an empty database elsewhere

Each writer is a thread with connections of its own and claims one job after the other. `no lock` leaves the writers'
lock out and relies on FOR UPDATE SKIP LOCKED alone: quicker, but numbers no longer grow in the order of the commits.
"""

import argparse
import contextlib
import statistics
import tempfile
import threading
import time
from pathlib import Path

from sqlalchemy import Engine, event

from rtseg_daemon.ledger import jobs, postgresql
from rtseg_daemon.ledger.engine import open_ledger, writing
from rtseg_daemon.ledger.migrate import upgrade
from rtseg_daemon.ledger.schema import Job, Series
from tests.postgres import running

SECONDS = 3.0
WRITERS = (1, 8)


def fill(engine: Engine, count: int) -> None:
    """So many jobs that wait."""
    with writing(engine) as session:
        values = {"study_instance_uid": "1", "patient_id": "p", "modality": "CT", "calling_ae": "", "calling_host": ""}
        times = {"first_received_at": 0.0, "last_received_at": 0.0, "updated_at": 0.0}
        series = Series(series_instance_uid=f"1.{time.monotonic_ns()}", **values, **times)
        session.add(series)
        session.flush()
        waiting = {"series_id": series.id, "bundle": "tiny", "route": "all", "created_at": 0.0, "updated_at": 0.0}
        session.add_all(Job(last_instance_id=number, **waiting) for number in range(count))


def claim(engine: Engine, end: float, took: list[float]) -> None:
    while time.monotonic() < end:
        began = time.monotonic()
        with writing(engine) as session:
            job = jobs.claim_job(session, "w")
        took.append(time.monotonic() - began)
        assert job is not None, "more jobs are needed"


def measure(name: str, url: str, writers: int, lock: bool) -> None:
    engines = [open_ledger(url) for _ in range(writers)]
    if not lock:
        for engine in engines:
            event.remove(engine, "begin", postgresql._begin)
    fill(engines[0], 3000)
    took: list[float] = []
    end = time.monotonic() + SECONDS
    threads = [threading.Thread(target=claim, args=(engine, end, took)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for engine in engines:
        engine.dispose()
    middle, late = statistics.median(took) * 1e3, statistics.quantiles(took, n=20)[-1] * 1e3
    print(f"| {name} | {writers} | {len(took) / SECONDS:.0f} | {middle:.1f} | {late:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    url = parser.parse_args().url
    print("| database | writers | claims/s | median ms | 95 % within ms |\n|---|---|---|---|---|")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places = [("SQLite", f"sqlite:///{folder / 'rtseg.db'}", True)]
        found = url or stack.enter_context(running(["max_connections=60"])).new_database()
        places += [("PostgreSQL", found, True), ("PostgreSQL, no lock", found, False)]
        for name, place, lock in places:
            engine = open_ledger(place)
            upgrade(engine)
            engine.dispose()
            for writers in WRITERS:
                measure(name, place, writers, lock)


if __name__ == "__main__":
    main()
