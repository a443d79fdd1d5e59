"""GET /healthz and /readyz: 200 where all is well, 503 where a process hangs or nothing can be received.

Both are open to everybody who reaches the port, so that they say no more than that, but for what is wrong on loopback.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse

from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import RtsegError
from rtseg_daemon.ledger.loss import hindrance, loss
from rtseg_daemon.ledger.sqlite_file import database_file
from rtseg_daemon.upkeep.health import process_problems, pulse_problems, storage_problems
from rtseg_daemon.upkeep.standing import observed
from rtseg_daemon.web.place import Here
from rtseg_daemon.web.schema_check import refuse_other_schema

router = APIRouter(include_in_schema=False)

RECEIVER = "receiver"


@dataclass(frozen=True)
class Health:
    """What hangs or is lost, and why nothing could be received besides. Both empty where all is well."""

    hangs: Sequence[str]
    refuses: Sequence[str] = ()

    @property
    def well(self) -> bool:
        return not self.hangs

    @property
    def ready(self) -> bool:
        return not self.hangs and not self.refuses


def health_of(engine: Engine, config: Config) -> Health:
    """How the daemon is now. A ledger that cannot be read is told too."""
    file = database_file(config.database_url)
    if file is not None and not file.is_file():  # who has it open could go on reading
        return Health([f"the ledger {file} is gone"])
    try:
        refuse_other_schema(engine)
        shape, facts = observed(engine, config)
    except SQLAlchemyError as error:
        return Health([f"the ledger cannot be used: {loss(error) or hindrance(error)}"])
    except (RtsegError, OSError) as error:
        return Health([str(error)])
    hangs = [*storage_problems(facts), *process_problems(facts), *pulse_problems(facts)]
    free, least = shape["disk"]["free_gb"], config.storage.minimum_free_gb
    refuses = [f"{free} GB are free, and images are refused below {least:g}"] if free < least else []
    if not any(process["name"] == RECEIVER for process in shape["processes"]):
        refuses.append("no receiver runs")
    return Health(hangs, refuses)


def answer(well: bool, problems: Sequence[str], open_to_all: bool) -> JSONResponse:
    shape = {"ok": well} | ({} if open_to_all else {"problems": list(problems)})
    return JSONResponse(shape, 200 if well else 503)


@router.get("/healthz")
def healthz(place: Here) -> JSONResponse:
    """Whether every process works. For a monitor that restarts what does not."""
    health = health_of(place.engine, place.config)
    return answer(health.well, health.hangs, place.config.web.exposed)


@router.get("/readyz")
def readyz(place: Here) -> JSONResponse:
    """Whether images are taken as well."""
    health = health_of(place.engine, place.config)
    return answer(health.ready, [*health.hangs, *health.refuses], place.config.web.exposed)
