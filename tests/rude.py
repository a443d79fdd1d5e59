"""A destination that answers with exactly the bytes that a test wants, and notes what it was sent."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.dimse import Command, decode_command, encode_command_set
from rtseg_daemon.dicom.wire import ASSOCIATE_RQ, P_DATA_TF, RELEASE_RQ, encode_command, fragments, release_reply


@dataclass
class Asked:
    """A whole request: its context, its command set, its data set."""

    context: int
    command: Command
    data: bytes


class Caller:
    """The connection as the rude destination sees it. Its methods raise OSError where the caller has gone."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.largest_body = 0

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def trickle(self, data: bytes, pause: float) -> None:
        for value in data:
            self.say(bytes([value]))
            time.sleep(pause)

    def wait_for_the_end(self) -> None:
        """Say nothing, and read what comes until the caller has gone."""
        while self.socket.recv(65536):
            pass

    def pdu(self) -> tuple[int, bytes]:
        head = self._exactly(6)
        body = self._exactly(struct.unpack(">I", head[2:])[0])
        if head[0] == P_DATA_TF:
            self.largest_body = max(self.largest_body, len(body))
        return head[0], body

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the caller has gone")
            data += part
        return bytes(data)

    def accepting(self, maximum: int = 16384) -> bytes:
        """The A-ASSOCIATE-AC to the request that comes now: every context with its first transfer syntax."""
        kind, body = self.pdu()
        assert kind == ASSOCIATE_RQ
        request = A_ASSOCIATE_RQ()
        request.decode(struct.pack(">BBI", ASSOCIATE_RQ, 0, len(body)) + body)
        asked = request.to_primitive()
        answer = A_ASSOCIATE()
        answer.application_context_name = asked.application_context_name
        answer.calling_ae_title, answer.called_ae_title = asked.calling_ae_title, asked.called_ae_title
        answer.result, answer.result_source = 0, 1
        contexts = asked.presentation_context_definition_list
        for context in contexts:
            context.result, context.transfer_syntax = 0, context.transfer_syntax[:1]
        answer.presentation_context_definition_results_list = contexts
        largest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
        largest.maximum_length_received = maximum
        implementation.implementation_class_uid = UID("1.2.3.4")
        answer.user_information = [largest, implementation]
        data: bytes = A_ASSOCIATE_AC(answer).encode()
        return data

    def request(self) -> Asked | None:
        """The next whole request; None where the caller wants to release."""
        command, data = bytearray(), bytearray()
        while True:
            kind, body = self.pdu()
            if kind == RELEASE_RQ:
                return None
            if kind != P_DATA_TF:
                raise ConnectionError(f"PDU type {kind}")
            for one in fragments(memoryview(body)):
                (command if one.is_command else data).extend(one.data)
                if one.is_last and (not one.is_command or not decode_command(bytes(command)).has_data):
                    return Asked(one.context_id, decode_command(bytes(command)), bytes(data))


def answer(asked: Asked, status: int = 0x0000, context: int | None = None, **changes: bytes) -> bytes:
    """The response to a request; `changes` replace elements of its command set by name."""
    values = {
        dimse.AFFECTED_CLASS: asked.command.values.get(dimse.AFFECTED_CLASS, b""),
        dimse.FIELD: dimse.short(asked.command.field | dimse.RESPONSE),
        dimse.RESPONDED_TO: asked.command.values[dimse.MESSAGE_ID],
        dimse.DATA_SET_TYPE: dimse.short(dimse.NO_DATA_SET),
        dimse.STATUS: dimse.short(status),
    }
    if dimse.AFFECTED_INSTANCE in asked.command.values:
        values[dimse.AFFECTED_INSTANCE] = asked.command.values[dimse.AFFECTED_INSTANCE]
    values |= {getattr(dimse, name): value for name, value in changes.items()}
    return encode_command(asked.context if context is None else context, encode_command_set(values))


Manner = Callable[["Caller", Asked], None]


def polite(caller: Caller, asked: Asked) -> None:
    caller.say(answer(asked))


def half_an_association(caller: Caller) -> None:
    """Silent in the middle of the answer to the association request."""
    caller.say(caller.accepting()[:20])
    caller.wait_for_the_end()


def half_an_answer(caller: Caller, asked: Asked) -> None:
    """Silent in the middle of a response."""
    caller.say(answer(asked)[:20])
    caller.wait_for_the_end()


def on_store(manner: Manner) -> Manner:
    """Polite to a C-ECHO, so that nothing but the C-STORE is under attack."""
    return lambda caller, asked: (manner if asked.command.field == dimse.C_STORE_RQ else polite)(caller, asked)


def flood(caller: Caller, kind: int) -> None:
    """A PDU of 500 MB is announced, and comes."""
    caller.say(struct.pack(">BBI", kind, 0, 500_000_000))
    while True:
        caller.say(bytes(2**20))


@dataclass
class Rude:
    """A listening socket; every connection is met by `greet`, every request by `meet`, a release by `part`."""

    meet: Manner = polite
    greet: Callable[[Caller], None] = lambda caller: caller.say(caller.accepting())
    part: Callable[[Caller], None] = lambda caller: caller.say(release_reply())
    asked: list[Asked] = field(default_factory=list)
    calls: int = 0
    largest_body: int = 0
    port: int = 0
    cramped: bool = False
    """Nearly no room between the two kernels, so that whoever sends 100 kB notices that nobody reads."""

    def serve(self, connection: socket.socket) -> None:
        caller = Caller(connection)
        with connection, contextlib.suppress(OSError):
            self.greet(caller)
            while (asked := caller.request()) is not None:
                self.asked.append(asked)
                self.largest_body = max(self.largest_body, caller.largest_body)
                if not asked.command.field & dimse.RESPONSE:
                    self.meet(caller, asked)
            self.part(caller)

    @contextmanager
    def running(self) -> Iterator["Rude"]:
        threads: list[threading.Thread] = []
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
            if self.cramped:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)

            def accept() -> None:
                while True:
                    try:
                        connection, _ = listening.accept()
                    except OSError:
                        return
                    self.calls += 1
                    threads.append(threading.Thread(target=self.serve, args=(connection,), daemon=True))
                    threads[-1].start()

            accepting = threading.Thread(target=accept, daemon=True)
            accepting.start()
            yield self
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join(5)
        for thread in threads:
            thread.join(5)
