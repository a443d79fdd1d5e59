"""A receiver process of its own for a test, and a peer that says exactly the bytes it is told to."""

import contextlib
import copy
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.migrate import upgrade
from tests.world import free_port

VERIFICATION = "1.2.840.10008.1.1"
READY_SECONDS = 60.0


class Receiver:
    """`python -m rtseg_daemon.daemon.receiver` with a storage and a ledger in `folder`."""

    def __init__(self, folder: Path, dicom: dict[str, Any] | None = None, **sections: Any) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.storage.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        document = {
            "dicom": {"port": self.port, **(dicom or {})},
            "storage": {"directory": str(self.storage), "minimum_free_gb": 0, **sections.pop("storage", {})},
            **sections,
        }
        self.ports = [self.port, *(section["port"] for section in [(dicom or {}).get("tls")] if section)]
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(document))
        self.log = folder / "receiver.log"
        self.database = self.storage / "rtseg.db"
        engine = open_ledger(f"sqlite:///{self.database}")
        upgrade(engine)
        engine.dispose()
        self.process = self.start()

    def command(self) -> list[str]:
        return [sys.executable, "-m", "rtseg_daemon.daemon.receiver", "--config", str(self.config)]

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the process and wait until it listens."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.PIPE, stderr=log, stdout=log)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if all(map(answers, self.ports)):
                return self.process
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.end()
        raise AssertionError(f"the receiver did not start: {self.log.read_text()}")

    def stop(self) -> int:
        """SIGTERM, then the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def end(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def kept(self) -> list[Path]:
        """Files of the objects in the ledger that are kept."""
        return [
            self.storage / path for (path,) in self.rows("select path from instance where state = 'KEPT' order by id")
        ]

    def has(self, sop_instance_uid: str) -> bool:
        """Whether the ledger knows the object."""
        return bool(self.rows(f"select 1 from instance where sop_instance_uid = '{sop_instance_uid}'"))

    def unfinished(self) -> list[Path]:
        return list((self.storage / "incoming").iterdir())

    def peak_mb(self) -> float:
        """Most memory the process ever had resident, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def logged(self) -> str:
        return self.log.read_text()


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def running(folder: Path, dicom: dict[str, Any] | None = None, **sections: Any) -> Iterator[Receiver]:
    """For a fixture: a receiver that is gone after the test."""
    receiver = Receiver(folder, dicom, **sections)
    try:
        yield receiver
    finally:
        receiver.end()


# --- a peer that obeys -----------------------------------------------------------------------------------------------


Proposal = dict[int, tuple[str, Sequence[str]]]


def request_pdu(
    calling: str = "HONEST",
    called: str = "RTSEG",
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian,),
    contexts: Proposal | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ; without `contexts` for Verification (context 1) and CT Image Storage (context 3)."""
    proposed = contexts or {1: (VERIFICATION, [ImplicitVRLittleEndian]), 3: (CTImageStorage, syntaxes)}
    primitive = A_ASSOCIATE()
    primitive.application_context_name = UID("1.2.840.10008.3.1.1.1")
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    built = []
    for number, (abstract, transfer) in proposed.items():
        context = build_context(abstract, list(transfer))
        context.context_id = number
        built.append(context)
    primitive.presentation_context_definition_list = built
    largest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    largest.maximum_length_received = 16384
    implementation.implementation_class_uid = UID("1.2.3.4")
    primitive.user_information = [largest, implementation]
    data: bytes = A_ASSOCIATE_RQ(primitive).encode()
    return data


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def uid_value(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def command_set(field: int, sop_class: str, instance: str | None = None, data: bool = True, message: int = 1) -> bytes:
    body = element(0x0002, uid_value(sop_class)) + element(0x0100, struct.pack("<H", field))
    body += element(0x0110, struct.pack("<H", message)) + element(0x0700, b"\0\0")
    body += element(0x0800, struct.pack("<H", 0x0000 if data else 0x0101))
    body += element(0x1000, uid_value(instance)) if instance is not None else b""
    return element(0x0000, struct.pack("<I", len(body))) + body


def pdata(context: int, data: bytes, *, command: bool, last: bool = True) -> bytes:
    value = struct.pack(">IBB", len(data) + 2, context, command | last << 1) + data
    return struct.pack(">BBI", 4, 0, len(value)) + value


def store_pdus(instance: str, data: bytes, *, sop_class: str = CTImageStorage, piece: int = 65536) -> bytes:
    """A whole C-STORE-RQ on context 3."""
    pieces = [data[k : k + piece] for k in range(0, len(data), piece)] or [b""]
    pdus = [pdata(3, command_set(0x0001, sop_class, instance), command=True)]
    pdus += [pdata(3, part, command=False, last=k == len(pieces) - 1) for k, part in enumerate(pieces)]
    return b"".join(pdus)


ECHO_PDUS = pdata(1, command_set(0x0030, VERIFICATION, data=False), command=True)
RELEASE = struct.pack(">BBI", 5, 0, 4) + bytes(4)


def encoded(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set's bytes without file meta information, uncompressed or as compressed as it is."""
    buffer = DicomBytesIO()
    big = syntax == ExplicitVRBigEndian
    buffer.is_little_endian, buffer.is_implicit_VR = not big, syntax == ImplicitVRLittleEndian
    plain = Dataset({k: v for k, v in dataset.items() if k.group != 2})
    if big:
        plain = copy.deepcopy(plain)
        plain.PixelData = np.frombuffer(plain.PixelData, "<u2").astype(">u2").tobytes()
    write_dataset(buffer, plain)
    return buffer.getvalue()


class Peer:
    """A raw connection."""

    def __init__(self, port: int, timeout: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.syntax: str = ExplicitVRLittleEndian

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def pdu(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; type 0 where the connection has ended."""
        with contextlib.suppress(OSError):
            head = self._exactly(6)
            if len(head) == 6:
                return head[0], self._exactly(struct.unpack(">I", head[2:])[0])
        return 0, b""

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (part := self.socket.recv(count - len(data))):
            data += part
        return data

    def associate(self, **options: Any) -> int:
        """Send an association request; returns the type of the answer (2 accepted, 3 rejected, 0 cut off)."""
        self.syntax = options.get("syntaxes", (ExplicitVRLittleEndian,))[0]
        self.say(request_pdu(**options))
        return self.pdu()[0]

    def negotiate(self, contexts: Proposal) -> dict[int, int]:
        """Propose contexts; returns context id -> result (0 accepted, 3 unknown class, 4 no transfer syntax)."""
        self.say(request_pdu(contexts=contexts))
        kind, body = self.pdu()
        assert kind == 2, f"answered with PDU type {kind}"
        answer = A_ASSOCIATE_AC()
        answer.decode(struct.pack(">BBI", 2, 0, len(body)) + body)
        return {item.presentation_context_id or 0: item.result or 0 for item in answer.presentation_context}

    def release(self) -> None:
        self.say(RELEASE)
        assert self.pdu()[0] == 6, "the release was not answered"

    def status(self) -> int | None:
        """Status of the next response; None if the association ended instead."""
        kind, body = self.pdu()
        if kind != 4:
            return None
        at = body.index(struct.pack("<HHI", 0, 0x0900, 2))
        return int(struct.unpack_from("<H", body, at + 8)[0])

    def store(self, dataset: Dataset, instance: str | None = None, sop_class: str = CTImageStorage) -> int | None:
        data = encoded(dataset, self.syntax)
        self.say(store_pdus(instance or str(dataset.SOPInstanceUID), data, sop_class=sop_class))
        return self.status()


def echo_seconds(port: int) -> float:
    """Time for an honest peer to connect, associate, C-ECHO and release; raises AssertionError if any of it fails."""
    began = time.monotonic()
    with Peer(port, 5.0) as peer:
        assert peer.associate() == 2, "the association was not accepted"
        peer.say(ECHO_PDUS)
        assert peer.status() == 0, "the C-ECHO was not answered"
        peer.release()
    return time.monotonic() - began
