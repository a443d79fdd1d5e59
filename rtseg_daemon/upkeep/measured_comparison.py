"""`models compare`: what is due is measured, then compared, and drawn where that is asked for. Loads matplotlib."""

from pathlib import Path

from sqlalchemy import Engine

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.cluster.place import files_of_command
from rtseg_daemon.config.file import Config
from rtseg_daemon.feedback.candidates import measure_all
from rtseg_daemon.feedback.looking import Desk
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.views import JsonObject
from rtseg_daemon.upkeep.comparing import comparison
from rtseg_daemon.upkeep.difference_pictures import draw_all


def measured_comparison(
    engine: Engine, config: Config, a: Bundle, b: Bundle, since: float = 0.0, pictures: Path | None = None
) -> JsonObject:
    """`comparison` once all that is due is measured, with pictures of what differs most where a folder is named."""
    with files_of_command(config, engine) as files:
        desk = Desk(engine, config, files)
        measure_all(desk)
        with reading(engine) as session:
            shape = comparison(session, a, b, since)
        return shape | {"pictures": [] if pictures is None else draw_all(desk, shape, pictures)}
