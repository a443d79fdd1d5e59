"""The deliverer's process: one courier per destination, until told to stop.

Run as `python -m rtseg_daemon.daemon.deliverer --config FILE` by the supervisor.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine

from rtseg_daemon.bundles import models_of, readable_bundles, research_faults
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.lifeline import follow_supervisor
from rtseg_daemon.deliver.courier import Courier
from rtseg_daemon.ledger import deliveries
from rtseg_daemon.ledger.engine import open_ledger, reading, writing
from rtseg_daemon.logs import configure


def give_up_unknown(engine: Engine, configured: Sequence[str]) -> None:
    """FAILED for every delivery whose destination is no longer configured: no courier would ever come for it."""
    with writing(engine) as session:
        for delivery in deliveries.unfinished_elsewhere(session, configured):
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


def main(arguments: Sequence[str] | None = None) -> None:
    """The deliverer's process: a courier per destination until SIGTERM."""
    parser = argparse.ArgumentParser(prog="rtseg_daemon.daemon.deliverer")
    parser.add_argument("--config", type=Path, required=True)
    config = load_config(parser.parse_args(arguments).config)
    configure(config.logging, "deliverer")
    stop = follow_supervisor()
    engine = open_ledger(config.database_url)
    give_up_unknown(engine, config.destination_names)
    give_up_research(engine, config)
    couriers = [Courier(engine, config, destination, stop) for destination in config.destinations]
    for courier in couriers:
        courier.start()
    stop.wait()
    for courier in couriers:
        courier.join()


if __name__ == "__main__":
    main()
