"""Host names looked up with a deadline. The system's own call has none, and a name service may answer nothing.

The call is made in a thread that may be left behind. There is one at a time for each name, so that they do not pile up.
"""

import socket
import threading
from dataclasses import dataclass, field
from typing import Any

from rtseg_daemon.logs import log

Address = tuple[int, int, int, Any]
"""Family, kind and protocol of a socket, and the address that it connects to."""

KNOWN_WAIT = 0.25
"""Share of the time that is waited for a name whose last answer is known. The rest is for connecting."""


@dataclass
class Question:
    """One look-up that is under way."""

    done: threading.Event = field(default_factory=threading.Event)
    found: list[Address] = field(default_factory=list)
    error: OSError | None = None


class Names:
    """What the name service answered last. It counts while there is no answer now, unless it says: no such name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[tuple[str, int], list[Address]] = {}
        self._under_way: dict[tuple[str, int], Question] = {}

    def look_up(self, host: str, port: int, seconds: float) -> list[Address]:
        """Addresses of `host`, never empty. Raises OSError (socket.gaierror) where there is no answer in time."""
        key = (host, port)
        with self._lock:
            last, question = self._last.get(key), self._under_way.get(key)
            if question is None:
                question = self._under_way[key] = Question()
                threading.Thread(target=self._ask, args=(key, question), name="name", daemon=True).start()
        error: OSError | None
        if question.done.wait(seconds * (KNOWN_WAIT if last else 1.0)):
            if question.found:
                return question.found
            error = question.error
        else:
            error = socket.gaierror(socket.EAI_AGAIN, "the name service does not answer in the time allowed")
        error = error or socket.gaierror(socket.EAI_NONAME, "the name has no address")
        if last is None or error.errno == socket.EAI_NONAME:
            raise error
        log().warning("a host name cannot be looked up; its last addresses are used", host=host, reason=error.strerror)
        return last

    def _ask(self, key: tuple[str, int], question: Question) -> None:
        """In a thread of its own, for as long as the system takes."""
        try:
            answers = socket.getaddrinfo(*key, type=socket.SOCK_STREAM)
            question.found = [(family, kind, protocol, address) for family, kind, protocol, _, address in answers]
        except OSError as error:
            question.error = error
        except UnicodeError as error:
            question.error = socket.gaierror(socket.EAI_NONAME, f"no host name ({error})")
        finally:
            with self._lock:
                if question.found:
                    self._last[key] = question.found
                del self._under_way[key]
            question.done.set()


_names = Names()


def looked_up(host: str, port: int, seconds: float) -> list[Address]:
    """Addresses of `host`, its last ones while the name service is away. Raises OSError."""
    return _names.look_up(host, port, seconds)
