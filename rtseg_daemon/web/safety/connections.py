"""Connections of slow and of many clients, bounded, for uvicorn: it waits for a request as long as it takes."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 256
MOST_OF_ONE = 64
HEAD_SECONDS = 10.0
"""For the request line and the headers, from the connection or their first byte on."""
HANDSHAKE_SECONDS = 10.0


def is_one_too_many(total: int, of_this_client: int, behind_a_proxy: bool) -> bool:
    """Whether a new connection is closed at once. A reverse proxy is one client that stands for all."""
    return total > MOST_CONNECTIONS or (of_this_client > MOST_OF_ONE and not behind_a_proxy)


class Bounded(H11Protocol):
    """uvicorn's HTTP/1.1, with a time for the head of each request and a number of connections."""

    behind_a_proxy = False
    head_task: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        same = sum(1 for one in self.connections if isinstance(one, Bounded) and one.client and one.client[0] == host)
        if is_one_too_many(len(self.connections), same, self.behind_a_proxy):
            transport.abort()
        else:
            self.wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self.head_task is None and self.conn.their_state is h11.IDLE:
            self.wait_for_head()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self.stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_waiting()
        super().connection_lost(exc)

    def wait_for_head(self) -> None:
        self.head_task = self.loop.call_later(HEAD_SECONDS, self.give_up)

    def stop_waiting(self) -> None:
        if self.head_task is not None:
            self.head_task.cancel()
            self.head_task = None

    def give_up(self) -> None:
        """The head did not come in time."""
        if not self.transport.is_closing():
            self.transport.abort()


class BoundedByProxy(Bounded):
    behind_a_proxy = True


class Loop(asyncio.SelectorEventLoop):
    """Hangs up on clients whose TLS handshake takes long: asyncio would wait for a minute."""

    async def create_server(self, *arguments: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", HANDSHAKE_SECONDS)
        return await super().create_server(*arguments, **options)
