"""How much a client may send, and how long it may take to send and to read."""

import asyncio
import contextlib

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rtseg_daemon.web.safety.answers import refuse

MOST_BYTES = 1_000_000
"""Forms hold a reason and a token."""
BODY_SECONDS = 20.0
READ_SECONDS = 60.0
"""A client that takes nothing of an answer for so long is cut off."""
TOO_LARGE = (413, "what you send is too large: forms and requests have at most 1 MB")
TWO_LENGTHS = (400, "a body has a length or comes in chunks, not both: a proxy could see two requests in it")
TOO_SLOW = (408, "what you send comes too slowly")


def announced(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Content-Length. None where it is not told (chunks)."""
    found = [value for name, value in headers if name == b"content-length"]
    return int(found[0]) if found and found[0].isdigit() else None


def in_pieces(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a body comes in chunks, of a length that is not told."""
    return any(name == b"transfer-encoding" for name, _ in headers)


class Bodies:
    """Answers 413 before a body that is too large is read, and ends exchanges that take too long."""

    def __init__(self, app: ASGIApp, most_bytes: int = MOST_BYTES, body_seconds: float = BODY_SECONDS) -> None:
        self.app, self.most_bytes, self.body_seconds = app, most_bytes, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        length, chunks = announced(scope["headers"]), in_pieces(scope["headers"])
        if chunks and length is not None:
            return await refuse(send, *TWO_LENGTHS)
        if (length or 0) > self.most_bytes:
            return await refuse(send, *TOO_LARGE)
        exchange = Exchange(receive, send, self.most_bytes, self.body_seconds)
        exchange.unread = bool(length) or chunks
        with contextlib.suppress(ClientDisconnect):
            await self.app(scope, exchange.receive, exchange.send)
        if exchange.refusal is not None and not exchange.answered:
            await refuse(send, *exchange.refusal)
        return None


class Exchange:
    """One request and its answer, counted and timed. Once it is refused, the page's own answer is not sent."""

    def __init__(self, receive: Receive, send: Send, most_bytes: int, body_seconds: float) -> None:
        self.from_client, self.to_client = receive, send
        self.left, self.until = most_bytes, asyncio.get_running_loop().time() + body_seconds
        self.whole = self.answered = self.unread = False
        self.refusal: tuple[int, str] | None = None

    async def receive(self) -> Message:
        """The next piece of the body. A refused request looks to the page as if the client had gone."""
        if self.refusal is not None:
            return {"type": "http.disconnect"}
        if self.whole:
            return await self.from_client()
        try:
            async with asyncio.timeout_at(self.until):
                message = await self.from_client()
        except TimeoutError:
            return self.refused(TOO_SLOW)
        self.whole = not message.get("more_body", False)
        self.left -= len(message.get("body", b""))
        return self.refused(TOO_LARGE) if self.left < 0 else message

    def refused(self, why: tuple[int, str]) -> Message:
        self.refusal = why
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        while self.unread and not (self.whole or self.answered or self.refusal):
            await self.receive()  # no page has read it, and it is bounded all the same
        if self.refusal is not None and not self.answered:
            return
        self.answered = True
        async with asyncio.timeout(READ_SECONDS):
            await self.to_client(message)
