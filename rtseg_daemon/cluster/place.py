"""How a process of this host reads stored files, by what the configuration says of hosts."""

from sqlalchemy import Engine

from rtseg_daemon.cluster.exchange import Exchange
from rtseg_daemon.cluster.files import HostFiles
from rtseg_daemon.cluster.shelf import Shelf
from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import HostAway, StateError
from rtseg_daemon.ledger import hosts
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.storage import Layout
from rtseg_daemon.stored import Files, OwnFiles


def files_of(config: Config, engine: Engine, process: str) -> Files:
    """Files of a host alone lie in its storage. Where there are several, those of others are fetched.

    `process` names the process among those of this host: each has a shelf of its own.
    """
    layout, tls = Layout(config.storage.directory, config.files_host), config.cluster.tls
    if tls is None:
        return OwnFiles(layout)

    def address_of(host: str) -> str:
        try:
            with reading(engine) as session:
                return hosts.address_of(session, host)
        except StateError as error:
            raise HostAway(str(error)) from error

    shelf = Shelf(layout.shelves / process, int(config.cluster.cache_gb * 1e9))
    return HostFiles(layout, config.host_name, shelf, Exchange(tls), address_of)
