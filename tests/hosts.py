"""A host of several, as others meet it: its files over HTTPS, in a thread of the test."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from sqlalchemy.exc import OperationalError

from rtseg_daemon.cluster.app import exchange_app
from rtseg_daemon.config.cluster import HostTls
from rtseg_daemon.dicom.tls import server_context
from rtseg_daemon.errors import LeaseLost, StorageError
from tests.certificates import Authority


def tls_of(authority: Authority, name: str, san: str = "IP:127.0.0.1", days: tuple[str, str] | None = None) -> HostTls:
    """Certificate, key and CA of the host `name`. `days` as `Authority.issue` has them."""
    pair = authority.issue(name, san=san, days=days)
    return HostTls(certificate=pair.certificate, key=pair.key, ca=authority.certificate)


@dataclass
class Room:
    """Holdings in a folder, and what the ledger would say of tokens."""

    folder: Path
    files: dict[int, Path] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    full: bool = False
    no_ledger: bool = False
    beside_result: dict[int, list[Path]] = field(default_factory=dict)

    def find(self, kind: str, number: int) -> Path | None:
        if self.no_ledger:
            raise OperationalError("select", {}, Exception("the server is down"))
        return self.files.get(number) if kind == "image" else None

    def beside(self, job_id: int) -> dict[str, Path]:
        return {path.name: path for path in self.beside_result.get(job_id, [])}

    def part(self, size: int) -> Path:
        if self.full:
            raise StorageError(f"the disk of {self.folder} is full: {size} bytes do not fit")
        return self.folder / "coming.part"

    def keep(self, job_id: int, token: int, name: str, part: Path) -> None:
        if self.no_ledger:
            raise OperationalError("select", {}, Exception("the server is down"))
        if self.tokens.get(job_id) != token:
            raise LeaseLost(f"job {job_id} was given to another worker")
        part.rename(self.folder / f"{job_id}-{name}")


@contextmanager
def answering(room: Room, tls: HostTls) -> Iterator[str]:
    """The address at which the room's files can be had."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(exchange_app(room), log_config=None, lifespan="off", ws="none")
        config.load()
        config.ssl = server_context(tls)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
