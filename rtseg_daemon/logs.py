"""Logging of every process: one line per event on stderr, JSON by default, and no patient data.

What is logged names series and jobs by the ledger's numbers. Tracebacks are reduced to exception types and places in
the code: an exception's message can quote a data element.
"""

import contextlib
import hashlib
import io
import logging
import sys
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from rtseg_daemon.config.sections import Logging

FORBIDDEN = frozenset({"patient_id", "patient_name", "birth_date", "dataset"})
"""Keys that are never printed, whoever hands them over."""

CHATTY = {
    "pynetdicom": logging.CRITICAL,
    "pydicom": logging.ERROR,
    "apscheduler": logging.ERROR,
    "alembic": logging.WARNING,
}


def log() -> Any:
    """A logger: `log().info("what happened", job=3)`."""
    return structlog.get_logger()


def configure(settings: Logging, process: str) -> None:
    """Send structlog and the libraries' own loggers to stderr as `settings` says. `process` stands in every line."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_patient,
        bare_traceback,
    ]
    lines = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())  # codes for colours only spoil a file
    renderer = structlog.processors.JSONRenderer() if settings.format == "json" else lines
    level = logging.getLevelNamesMapping()[settings.level]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(Forgiving(sys.stderr)),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(process=process)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], foreign_pre_chain=shared
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    for name, least in CHATTY.items():
        logging.getLogger(name).setLevel(max(least, level))


class Forgiving(io.StringIO):
    """A stream whose full disk or closed pipe costs the line, not the work that wanted to tell of it."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.flush()


def short(uid: str) -> str:
    """Eight hex digits that tell UIDs apart in a log without quoting them."""
    return hashlib.sha256(uid.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def without_patient(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop keys that carry patient data."""
    return {key: value for key, value in event.items() if key not in FORBIDDEN}


def bare_traceback(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """`exc_info` becomes `exception`: type and place of every link of the chain, no message."""
    given = event.pop("exc_info", None)
    if given:
        error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else sys.exception()
        event["exception"] = describe(error) if error is not None else "none"
    return event


def describe(error: BaseException) -> str:
    """The exception's type and the innermost places it passed through, without its message."""
    links = [f"{type(error).__name__} at {places(error.__traceback__)}"]
    cause = error.__cause__ or error.__context__
    if cause is not None:
        links.append(f"from {type(cause).__name__} at {places(cause.__traceback__)}")
    return " ".join(links)


def places(traceback: TracebackType | None, innermost: int = 4) -> str:
    """`module:line` of the innermost frames, outermost first."""
    found: list[str] = []
    while traceback is not None:
        frame = traceback.tb_frame
        found.append(f"{frame.f_globals.get('__name__', '?')}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return " > ".join(found[-innermost:]) or "nowhere"
