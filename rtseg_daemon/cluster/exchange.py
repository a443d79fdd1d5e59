"""Files fetched from and brought to other hosts: HTTPS, certificates on both sides, and a digest for every file."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from rtseg_daemon.config.cluster import HostTls
from rtseg_daemon.dicom.tls import Stamp, client_context, stamp_of
from rtseg_daemon.errors import ExchangeError, HostAway, LeaseLost, StorageFull
from rtseg_daemon.stored import Stored

logging.getLogger("httpx").setLevel(logging.WARNING)  # else it tells of every file
MOST_LISTED_BYTES = 1 << 20
"""Of a list of files. A result has a handful."""
PIECE_BYTES = 1 << 20
WAITS = httpx.Timeout(10.0, connect=5.0)
"""Between two pieces of a file, and for a connection."""
SHA256 = "X-Content-SHA256"
"""Header with the digest of a file that is brought, in hexadecimal."""
MEANT = {404: ExchangeError, 409: LeaseLost, 507: StorageFull}
"""What an answer that is no success means. Any other says that the host cannot do it now, as without its ledger."""
SECTION = "cluster.tls"


@dataclass
class Exchange:
    """Asks other hosts. Connections are kept open, until our certificate is another one. Threads may share it."""

    tls: HostTls
    stamp: Stamp = ()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, address: str, wanted: Stored, path: Path) -> None:
        """Write a file of the host `address` to `path`.

        Raises HostAway where the host does not answer, ExchangeError where it does not have it or sends another one.
        """
        hashed, length = hashlib.sha256(), 0
        with self.asked("GET", address, f"/files/{wanted.key}") as answer, path.open("wb") as file:
            for piece in answer.iter_raw(PIECE_BYTES):
                length += len(piece)
                if length > wanted.size:
                    break
                hashed.update(piece)
                file.write(piece)
        if length > wanted.size or hashed.hexdigest() != wanted.sha256:
            raise ExchangeError(f"host {address} sent another file than {wanted.key} was; look at its disk")

    def listed(self, address: str, job_id: int) -> list[Stored]:
        """What lies beside the structure set of a job at home on the host `address`. Raises as `fetch` does."""
        with self.asked("GET", address, f"/results/{job_id}") as answer:
            told = read_bounded(answer, address)
        try:
            return [
                Stored(f"beside/{job_id}/{one['name']}", "", str(one["sha256"]), int(one["size"]))
                for one in json.loads(told)
            ]
        except (ValueError, TypeError, KeyError) as error:
            raise ExchangeError(f"host {address} answered what is no list of files; is it of this version?") from error

    def bring(self, address: str, job_id: int, token: int, path: Path) -> None:
        """Leave a file of a job's result at the host `address`. It is durable there when this returns.

        Raises LeaseLost where the job was given to another worker meanwhile, StorageFull where the disk there is,
        HostAway where the host does not answer.
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            headers = {SHA256: digest, "Content-Length": str(os.fstat(file.fileno()).st_size)}
            target = f"/results/{job_id}/{token}/{path.name}"
            with self.asked("PUT", address, target, headers=headers, content=file):
                pass

    @contextmanager
    def asked(self, method: str, address: str, target: str, **more: Any) -> Iterator[httpx.Response]:
        """The answer to a request, its body still to come. What is no success is raised as the error that it means."""
        begun = False
        try:
            with self.client().stream(method, f"https://{address}{target}", **more) as answer:
                begun = True
                if answer.status_code >= 300:
                    said = answer.read().decode(errors="replace").strip()[:300] or f"HTTP {answer.status_code}"
                    meant = MEANT.get(answer.status_code, HostAway)
                    raise meant(f"host {address}: {said}")
                yield answer
        except httpx.HTTPError as error:
            words = str(error) or type(error).__name__
            if begun:
                raise HostAway(f"host {address} broke off in the middle of a file ({words})") from error
            raise HostAway(
                f"host {address} does not answer ({words}); is it up, and do its certificate and {SECTION}.ca fit?"
            ) from error

    def client(self) -> httpx.Client:
        """Connections with the certificate as it is now. No proxy is asked. Raises ConfigError for unusable files."""
        with self.lock:
            try:
                stamp = stamp_of(self.tls)
            except OSError:
                stamp = ()
            if not self.stamp or stamp != self.stamp:
                context = client_context(self.tls, SECTION)
                self._client = httpx.Client(verify=context, timeout=WAITS, trust_env=False)
                self.stamp = stamp
            return self._client


def read_bounded(answer: httpx.Response, address: str) -> bytes:
    """A short answer. Raises ExchangeError for a long one."""
    told = bytearray()
    for piece in answer.iter_raw():
        told += piece
        if len(told) > MOST_LISTED_BYTES:
            raise ExchangeError(f"host {address} answered what is no list of files; is it of this version?")
    return bytes(told)
