"""What a job costs in an empty ledger and in one of 100,000 jobs and 10 million objects, on both databases.

    python bench/ledger.py [--jobs 100000] [--rounds 40] [--database sqlite --database postgresql] [--log FILE]

One database after the other: three ledgers are made. One stays empty, one has the cases that retention still keeps (two
weeks), one has those and everything before them (`bench/past.py`). Every step is done to each in turn, so that other
work on the machine meets all three. The table has the medians, and the medians of the rounds' ratios: all to none, and
all to two weeks. What grows in the first and not in the second goes with what is here, and not with what was.

PostgreSQL is a server of its own in /tmp with its usual settings, which is gone afterwards. 100,000 jobs take 12 GB of
disk while one database is measured, and 15 minutes.
"""

import argparse
import contextlib
import json
import logging
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import looks
import structlog
from past import IMAGES, KEPT_DAYS, Past, rows
from site_of import Site

from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.migrate import upgrade
from tests.postgres import running

Step = Callable[[Site], float]
SERVER = ("max_wal_size=1GB", "wal_level=minimal", "max_wal_senders=0")
"""All else as PostgreSQL has it: fsync, 128 MB of shared buffers, autovacuum."""


def taken(look: looks.Look) -> Step:
    """A look as a step."""

    def step(site: Site) -> float:
        began = time.perf_counter()
        look(site)
        return time.perf_counter() - began

    return step


STEPS: dict[str, Step] = {
    "arrival of a series": Site.arrival,
    "sweep, one open series": Site.sweep,
    "closing of a series, with its job": Site.closing,
    "claim to SEGMENTED": Site.job,
    "two deliveries, from due to SENT": Site.delivery,
    "retention of one series": Site.retention,
    "retention, nothing old": taken(looks.nothing_old),
    "couriers, nothing due": taken(looks.asked(looks.due)),
    "orphans": taken(looks.lost_workers),
    "an alarm raised and sent": taken(looks.alarms),
    "late series": taken(looks.late),
    "metrics": taken(looks.metrics),
    "shadows": taken(looks.asked(looks.shadows)),
    "charts, whether anything is new": taken(looks.asked(looks.charts_asked)),
    "charts": taken(looks.charts),
    "audit trail": taken(looks.audit_lines),
    "digest of a day": taken(looks.daily),
    "`status`": taken(looks.status),
    "page Now": taken(looks.asked(looks.first_page)),
    "page Cases, two pages": taken(looks.asked(looks.cases_page)),
    "page Cases, HELD": taken(looks.asked(looks.cases_held)),
    "page Worklist": taken(looks.asked(looks.worklist)),
    "page Audit": taken(looks.asked(looks.audit_page)),
    "the newest 50 series": taken(looks.asked(looks.newest_series)),
}
"""In this order: each of the first ones goes on where the last one ended."""
PER_JOB = tuple(STEPS)[:6]
ONE_JOB = "**one job: the six above**"
COLUMNS = ("database", "step", "empty_ms", "kept_ms", "full_ms", "to_empty", "to_kept")
NAMES = ("empty", "kept", "full")
YEARS = 4.0
DAY = 86400.0
FEWEST = 50_000
"""So many cases or more are spread over the years. Fewer stand as close together as these."""


@contextlib.contextmanager
def places(kind: str, folder: Path) -> Iterator[list[str]]:
    """The URLs of three empty ledgers."""
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            files = [folder / f"{name}.db" for name in NAMES]
            make(f"sqlite:///{files[0]}")
            for file in files[1:]:
                shutil.copy(files[0], file)
            yield [f"sqlite:///{file}" for file in files]
        else:
            server = stack.enter_context(running(SERVER))
            first = server.new_database()
            make(first)
            yield [first, *(server.new_database("TEMPLATE test1") for _ in NAMES[1:])]


def make(url: str) -> None:
    """An empty ledger of this version's schema."""
    engine = open_ledger(url)
    upgrade(engine)
    engine.dispose()


def measure(sites: list[Site], rounds: int) -> dict[str, list[list[float]]]:
    """Step -> for every round the seconds of each site. One more round comes before several, and counts not."""
    found: dict[str, list[list[float]]] = defaultdict(list)
    for number in range(0 if rounds > 1 else 1, rounds + 1):
        order = sites[number % len(sites) :] + sites[: number % len(sites)]
        for name, step in STEPS.items():
            took = {site.name: step(site) for site in order}
            if number:
                found[name].append([took[site.name] for site in sites])
        if number:
            found[ONE_JOB].append([sum(found[name][-1][which] for name in PER_JOB) for which in range(len(sites))])
    return found


def of_database(kind: str, asked: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Every line of one database's table."""
    jobs, rounds, images = asked.jobs, asked.rounds, asked.images
    pause = YEARS * 365 * DAY / max(jobs, FEWEST)
    here = min(jobs, int(KEPT_DAYS * DAY / pause))
    with tempfile.TemporaryDirectory(dir=asked.folder) as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        urls = stack.enter_context(places(kind, folder))
        began = time.monotonic()
        for url, cases in zip(urls, (0, here, jobs), strict=True):
            Past(url, cases, time.time(), pause, images).write()
        filled = counted(urls[-1])
        print(f"{kind}: filled in {time.monotonic() - began:.0f} s, {filled}", flush=True)
        sites = [
            Site(name, url, folder / name, seed, images)
            for seed, (name, url) in enumerate(zip(NAMES, urls, strict=True))
        ]
        try:
            for step, found in measure(sites, rounds).items():
                middle = [1e3 * statistics.median(one) for one in zip(*found, strict=True)]
                figures = {f"{name}_ms": round(value, 2) for name, value in zip(NAMES, middle, strict=True)}
                ratios = [statistics.median(one[2] / one[which] for one in found) for which in (0, 1)]
                told = {"to_empty": round(ratios[0], 2), "to_kept": round(ratios[1], 2)}
                yield {"database": kind, "step": step, "rounds": len(found), **figures, **told, "rows": filled}
        finally:
            for site in sites:
                site.close()


def counted(url: str) -> dict[str, int]:
    """How many rows the largest tables have."""
    engine = open_ledger(url)
    with engine.connect() as connection:
        found = rows(connection)
    engine.dispose()
    return {one: found[one] for one in ("job", "instance", "event", "delivery", "alarm")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--images", type=int, default=IMAGES, help="of each series")
    parser.add_argument("--database", action="append", choices=("sqlite", "postgresql"), help="default: both")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where SQLite's files lie")
    parser.add_argument("--log", type=Path, help="file to which every line is added as JSON")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found: list[dict[str, object]] = []
    for kind in options.database or ("sqlite", "postgresql"):
        found += of_database(kind, options)
    print("\n| database | step | empty, ms | two weeks, ms | all, ms | to empty | to two weeks |\n" + "|---" * 7 + "|")
    for line in found:
        print("| " + " | ".join(str(line[one]) for one in COLUMNS) + " |")
    print(f"\nmost memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    if options.log:
        with options.log.open("a") as log:
            log.writelines(json.dumps(line) + "\n" for line in found)


if __name__ == "__main__":
    main()
