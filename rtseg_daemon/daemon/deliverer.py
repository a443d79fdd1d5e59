"""The deliverer's process: one courier per destination, until told to stop.

Run as `python -m rtseg_daemon.daemon.deliverer --config FILE` by the supervisor.
"""

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.bundles import models_of, readable_bundles, research_faults
from rtseg_daemon.cluster.place import files_of
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.lifeline import follow_supervisor, show_life
from rtseg_daemon.deliver.courier import Courier, duty_of
from rtseg_daemon.errors import ConfigError, RtsegError
from rtseg_daemon.ledger import deliveries
from rtseg_daemon.ledger.duties import OnDuty, done_now, duty_owner
from rtseg_daemon.ledger.engine import can_be_read, open_ledger, reading, writing
from rtseg_daemon.ledger.loss import hindrance
from rtseg_daemon.logs import configure, log


def give_up_unknown(engine: Engine, configured: Sequence[str]) -> None:
    """FAILED for every delivery whose destination is no longer configured: no courier would ever come for it.

    Of several hosts another may have it in its configuration, and sends to it then.
    """
    with writing(engine) as session:
        sent_to = done_now(session)
        for delivery in deliveries.unfinished_elsewhere(session, configured):
            if duty_of(delivery.destination) in sent_to:
                continue
            reason = f"destination {delivery.destination!r} is no longer configured; configure it, then retry the job"
            deliveries.record_failed(session, delivery.id, None, reason, reason)


def give_up_research(engine: Engine, config: Config) -> None:
    """FAILED for every delivery of what a research bundle made, where the route does not allow that any more."""
    allowed = [route.name for route in config.routes if route.research]
    with reading(engine) as session:
        found = deliveries.unfinished_of_routes_but(session, allowed)
        unfinished = [(one.id, one.job.bundle, one.job.route) for one in found]
    bundles = {names: readable_bundles(models_of(config), names) for names in {names for _, names, _ in unfinished}}
    with writing(engine) as session:
        for delivery_id, names, route in unfinished:
            if faults := research_faults(bundles[names], config.route_named(route)):
                deliveries.record_failed(session, delivery_id, None, faults[0], faults[0])


def deliver(config: Config, stop: threading.Event) -> None:
    """A courier per destination until `stop`. Raises SQLAlchemyError where the ledger cannot be used at the start."""
    engine = open_ledger(config.database_url, existing=True)
    give_up_unknown(engine, config.destination_names)
    give_up_research(engine, config)
    couriers = [courier_of(engine, config, index, stop) for index in range(len(config.destinations))]
    for courier in couriers:
        courier.start()
    show_life(lambda: can_be_read(engine))
    stop.wait()
    for courier in couriers:
        courier.join()


def courier_of(engine: Engine, config: Config, index: int, stop: threading.Event) -> Courier:
    """The courier of one destination. Of several hosts one at a time sends to it."""
    destination = config.destinations[index]
    duty = OnDuty(
        engine,
        duty_of(destination.name),
        duty_owner("deliverer", config.host_name),
        alone=engine.dialect.name == "sqlite",
    )
    files = files_of(config, engine, f"deliverer-{index}")
    return Courier(engine, config, destination, stop, files=files, duty=duty)


def main(arguments: Sequence[str] | None = None) -> int:
    """The deliverer's process, until SIGTERM."""
    parser = argparse.ArgumentParser(prog="rtseg_daemon.daemon.deliverer")
    parser.add_argument("--config", type=Path, required=True)
    stop = follow_supervisor()
    try:
        config = load_config(parser.parse_args(arguments).config)
        configure(config.logging, "deliverer")
        deliver(config, stop)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (SQLAlchemyError, RtsegError) as error:
        log().critical("cannot deliver", exc_info=error, reason=hindrance(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
