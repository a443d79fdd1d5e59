"""The receiver: a process of its own that listens, stores and acknowledges, and knows nothing of networks of neurons.

python -m rtseg_daemon.daemon.receiver --config FILE
"""

import argparse
import os
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.cluster.place import files_of
from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.daemon.lifeline import follow_supervisor, show_life
from rtseg_daemon.deliver.event_reports import take_event_report
from rtseg_daemon.dicom.contexts import supported_contexts
from rtseg_daemon.dicom.tls import ServerTls
from rtseg_daemon.dicom.wire import PeerLimits
from rtseg_daemon.errors import ConfigError, RtsegError
from rtseg_daemon.ledger.arrivals import make_room
from rtseg_daemon.ledger.associations import resume_listening
from rtseg_daemon.ledger.engine import open_ledger, writing
from rtseg_daemon.ledger.loss import hindrance
from rtseg_daemon.logs import configure, log
from rtseg_daemon.receive.callers import Callers
from rtseg_daemon.receive.comparison import Comparison
from rtseg_daemon.receive.decoding import Decoder
from rtseg_daemon.receive.door import Door
from rtseg_daemon.receive.group_commit import GroupCommit
from rtseg_daemon.receive.intake import Intake
from rtseg_daemon.receive.listener import Listener, ListeningSocket, open_port
from rtseg_daemon.receive.session import Reception
from rtseg_daemon.receive.store import ObjectStore
from rtseg_daemon.storage import layout_of

DRAIN_SECONDS = 10.0
SWITCH_SECONDS = 0.0005
"""Threads here work for fractions of a millisecond between two waits. Python's 5 ms would make them queue."""


def limits_of(config: Config) -> PeerLimits:
    """The configured limits. Those that are not configurable keep their defaults."""
    dicom = config.dicom
    return PeerLimits(
        object_bytes=dicom.max_object_mb * 10**6,
        request_seconds=dicom.request_seconds,
        idle_seconds=dicom.idle_seconds,
        message_seconds=dicom.message_seconds,
    )


def ports_of(config: Config) -> list[ListeningSocket]:
    """The listening sockets, plain and TLS. Raises OSError where one is taken, ConfigError for a bad certificate."""
    dicom = config.dicom
    ports = [open_port(dicom.host, port) for port in dicom.plain_ports]
    if dicom.tls is not None:
        ports.append(open_port(dicom.host, dicom.tls.port, ServerTls(dicom.tls)))
    return ports


def receive(config: Config, stop: threading.Event, show: Callable[[Callable[[], object]], None] = show_life) -> None:
    """Listen until `stop`, then finish what is at hand. `show` is given what proves that objects can be kept.

    Raises OSError where a port cannot be opened.
    """
    os.umask(0o077)
    sys.setswitchinterval(SWITCH_SECONDS)
    engine = open_ledger(config.database_url, existing=True)
    store = ObjectStore(layout_of(config))
    left = store.clear_incoming()
    with writing(engine) as session:
        died = resume_listening(session, host=config.files_host, pid=os.getpid())
    make_room(engine)
    commits = GroupCommit(engine, store.sync)
    limits, comparison = limits_of(config), Comparison(Decoder())
    commitment = any(destination.commitment for destination in config.destinations)
    reception = Reception(
        Callers(config.dicom.ae_title, config.dicom.allowed_callers),
        Door(config.dicom.max_associations, config.dicom.max_per_caller),
        Intake(
            store,
            commits,
            limits,
            config.storage.minimum_free_gb,
            comparison,
            config.feedback.max_object_mb * 10**6,
            files_of(config, engine, "receiver"),
        ),
        limits,
        supported_contexts(commitment),
        partial(take_event_report, engine) if commitment else None,
    )
    listener = Listener(reception, ports_of(config))
    commits.start()
    listener.start()
    counting = threading.Thread(
        target=reception.turned_away.keep_writing, args=(commits, stop), name="rejections", daemon=True
    )
    counting.start()
    show(lambda: commits.submit(lambda _session: None))  # an empty transaction goes the way of every object
    log().info("listening", ports=config.dicom.ports, unfinished_files=left, associations_died=died)
    stop.wait()
    listener.stop(min(DRAIN_SECONDS, config.jobs.shutdown_seconds))
    counting.join(1.0)
    commits.stop()
    comparison.decoder.close()
    engine.dispose()
    log().info("stopped listening")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="rtseg-receive", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # libraries quote a stranger's values in theirs
    stop = follow_supervisor()
    try:
        config = load_config(options.config)
        configure(config.logging, "receiver")
        receive(config, stop)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (SQLAlchemyError, RtsegError) as error:
        log().critical("cannot receive", exc_info=error, reason=hindrance(error))
        return 1
    except OSError as error:
        log().critical("cannot listen", exc_info=error, error=error.strerror)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
