"""A mail server on loopback: STARTTLS, login, and refusals where a test asks for them. It keeps what it was sent."""

import base64
import email
import email.policy
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import BinaryIO

from tests.certificates import Pair


@dataclass
class MailServer:
    """`users`: who may log in; empty: nobody need to. `refuse`: the answer to the recipient instead of success."""

    pair: Pair | None = None
    users: dict[str, str] = field(default_factory=dict)
    refuse: str = ""
    is_tls_at_once: bool = False
    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    greetings: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator["MailServer"]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
            thread = threading.Thread(target=self._accept, args=(listening,), daemon=True)
            thread.start()
            yield self
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection = listening.accept()[0]
            except OSError:
                return
            with suppress(OSError, ssl.SSLError):
                Conversation(self, connection).run()

    def secured(self, connection: socket.socket) -> ssl.SSLSocket:
        assert self.pair is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pair.certificate, self.pair.key)
        return context.wrap_socket(connection, server_side=True)


class Conversation:
    """One connection."""

    def __init__(self, server: MailServer, connection: socket.socket) -> None:
        self.server = server
        self.socket: socket.socket = server.secured(connection) if server.is_tls_at_once else connection
        self.file: BinaryIO = self.socket.makefile("rb")
        self.user = ""

    def say(self, line: str) -> None:
        self.socket.sendall(f"{line}\r\n".encode())

    def run(self) -> None:
        with self.socket:
            self.say("220 mail.example ESMTP")
            while line := self.file.readline().decode().strip():
                if line.upper() == "QUIT":
                    return self.say("221 bye")
                self.obey(line)
        return None

    def obey(self, line: str) -> None:
        verb = line.split(" ")[0].split(":")[0].upper()
        match verb:
            case "EHLO":
                self.server.greetings.append(line.partition(" ")[2])
                offers = ["STARTTLS"] if self.server.pair and not isinstance(self.socket, ssl.SSLSocket) else []
                offers += ["AUTH PLAIN"] if self.server.users else []
                for line in ("mail.example", *offers):
                    self.say(f"250-{line}")
                self.say("250 SIZE 1000000")
            case "STARTTLS":
                self.say("220 go ahead")
                self.socket = self.server.secured(self.socket)
                self.file = self.socket.makefile("rb")
            case "AUTH":
                _, user, secret = base64.b64decode(line.split(" ")[2]).decode().split("\0")
                if self.server.users.get(user) != secret:
                    return self.say("535 5.7.8 wrong password")
                self.user = user
                self.say("235 welcome")
            case "MAIL" if self.server.users and not self.user:
                self.say("530 5.7.0 log in first")
            case "RCPT" if self.server.refuse:
                self.say(self.server.refuse)
            case "DATA":
                self.say("354 go on")
                self.take()
                self.say("250 taken")
            case _:
                self.say("250 ok")
        return None

    def take(self) -> None:
        lines = []
        while (line := self.file.readline()) not in (b".\r\n", b""):
            lines.append(line)
        letter = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        assert isinstance(letter, EmailMessage)
        self.server.letters.append(letter)
        self.server.logins.append(self.user)
        self.server.encrypted.append(isinstance(self.socket, ssl.SSLSocket))
