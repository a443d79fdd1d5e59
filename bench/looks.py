"""What is asked of the ledger again and again, whatever happens: lists, pages, and the daemon's periodic work."""

import time
from collections.abc import Callable

from site_of import CANDIDATE, DAY, DESTINATIONS, ROUTE, Site
from sqlalchemy.orm import Session

from rtseg_daemon.assemble.arriving import arriving
from rtseg_daemon.ledger import deliveries, orphans, supervision, urgency, views
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import people, raise_alarm
from rtseg_daemon.ledger.first import newest_event
from rtseg_daemon.ledger.found_events import EventSearch, find_events
from rtseg_daemon.ledger.found_jobs import Search, find_jobs, routes_and_bundles
from rtseg_daemon.ledger.seen_alarms import all_alarms, unsent
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.upkeep import at_once, audit_trail, digest, lateness, retention, shadowing
from rtseg_daemon.upkeep.drift import watch
from rtseg_daemon.upkeep.standing import standing
from rtseg_daemon.web.pages.now import at_work, unrouted

Look = Callable[[Site], object]


def asked(question: Callable[[Session], object]) -> Look:
    """A question in a reading transaction of its own."""

    def look(site: Site) -> object:
        with reading(site.engine) as session:
            return question(session)

    return look


def status(site: Site) -> object:
    return standing(site.engine, site.config)


def first_page(session: Session) -> object:
    """Now, without `status`, which it shows too."""
    return arriving(session), at_work(session), unrouted(session), all_alarms(session, limit=25), newest_event(session)


def cases_page(session: Session) -> object:
    found = find_jobs(session, Search())
    return routes_and_bundles(session), found, find_jobs(session, Search(older=found.jobs[-1].id))


def cases_held(session: Session) -> object:
    return find_jobs(session, Search(state=JobState.HELD))


def worklist(session: Session) -> object:
    late = frozenset(number for number, *_ in lateness.late_series(session, time.time() - 1800.0))
    waiting = urgency.waiting_jobs(session, late, time.time() - 14 * DAY)
    return urgency.worst_first([*waiting, *urgency.waiting_series(session, late)])


def audit_page(session: Session) -> object:
    return people(session), find_events(session, EventSearch())


def newest_series(session: Session) -> object:
    return views.all_series(session, views.Wanted(limit=50))


def nothing_old(site: Site) -> object:
    return retention.remove_old(site.engine, site.layout, site.config.storage.keep_days * DAY, time.time())


def due(session: Session) -> object:
    return [deliveries.due_deliveries(session, name, time.time(), 3600.0) for name in DESTINATIONS]


def lost_workers(site: Site) -> object:
    with reading(site.engine) as session:
        supervision.running_jobs(session)
        orphans.expired(session)
    with writing(site.engine) as session:
        orphans.worker_lost(session, "worker-9@nowhere/", "gone", 3)
        return orphans.take_up_expired(session, 3)


def alarms(site: Site) -> object:
    """One is raised, what is new is looked for, what is not sent is found and counted."""
    with writing(site.engine) as session:
        raise_alarm(session, "late", f"late:bench:{time.monotonic_ns()}", "contours are late")
    at_once.raise_new(site.engine, ("HELD", "FAILED", "UNROUTED", "ACTIVATED"), time.time())
    with writing(site.engine) as session:
        for alarm in unsent(session):
            alarm.sent_at = alarm.acknowledged_at = time.time()
        return all_alarms(session, limit=25)


def late(site: Site) -> object:
    return lateness.raise_late(site.engine, 1800.0, time.time())


def metrics(site: Site) -> object:
    with reading(site.engine) as session:
        list(lateness.late_series(session, time.time() - 1800.0))
        return views.status_shape(session, time.time(), 100.0, DESTINATIONS)


def shadows(session: Session) -> object:
    return shadowing.ready(session, ROUTE, CANDIDATE, "candidate")


def charts_asked(session: Session) -> object:
    return watch.stamp(session)


def charts(site: Site) -> object:
    return watch.raise_drift(site.engine, {f"digest-{n}": f"1.{n}" for n in range(5)}, time.time())


def daily(site: Site) -> object:
    with reading(site.engine) as session:
        return digest.day_of(session, site.config, site.layout, time.time())


def audit_lines(site: Site) -> object:
    return audit_trail.write_new(site.engine, site.config)
