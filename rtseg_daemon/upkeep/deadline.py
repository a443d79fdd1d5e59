"""A limit on a whole exchange with another machine. A socket's own time-out counts from one byte to the next."""

import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any

CUT_AGAIN_SECONDS = 0.2


@contextmanager
def cut_off_after(seconds: float, connection: Callable[[], Any]) -> Iterator[None]:
    """From `seconds` on, cut off whatever socket `connection` returns (None: there is none yet), until the block ends.

    Who waits on the socket then finds it ended. Raises TimeoutError in place of the error that follows.
    """
    done = threading.Event()
    late = threading.Event()

    def watch() -> None:
        if done.wait(seconds):
            return
        late.set()
        while not done.wait(CUT_AGAIN_SECONDS):
            with suppress(OSError):
                if (found := connection()) is not None:
                    # not the method of an SSLSocket, which would first throw its TLS state away under the reader
                    socket.socket.shutdown(found, socket.SHUT_RDWR)

    threading.Thread(target=watch, name="deadline", daemon=True).start()
    try:
        yield
    except (OSError, HTTPException) as error:
        if late.is_set():
            raise TimeoutError(f"not finished within {seconds:g} s") from error
        raise
    finally:
        done.set()


def urlopen(request: urllib.request.Request, seconds: float) -> int:
    """Send an HTTP request and give its status, all of it within `seconds`. Proxies as the environment names them.

    Raises OSError (urllib's HTTPError among them) or HTTPException if it is not accepted.
    """
    opened: list[HTTPConnection] = []

    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(noted(HTTPConnection), req)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(noted(HTTPSConnection), req)

    def noted(kind: type[HTTPConnection]) -> Any:
        def make(*arguments: Any, **options: Any) -> HTTPConnection:
            opened.append(kind(*arguments, **options))
            return opened[-1]

        return make

    opener = urllib.request.build_opener(Http, Https)
    with (
        cut_off_after(seconds, lambda: opened[-1].sock if opened else None),
        opener.open(request, timeout=seconds) as answer,
    ):
        return int(answer.status)
