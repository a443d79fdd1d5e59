"""Logins that were begun at a provider. Each is for one browser, once, and for ten minutes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from rtseg_daemon.web.people.secrets import digest_of, new_secret

LASTS_SECONDS = 600.0
MOST = 1000


@dataclass(frozen=True)
class Begun:
    """One login. `browser` is the digest of the cookie that the browser was given with it."""

    nonce: str
    verifier: str
    to: str
    browser: str
    at: float


@dataclass
class Pending:
    """Those that were begun, in memory: one that is lost is begun again."""

    now: Callable[[], float] = time.monotonic
    begun: OrderedDict[str, Begun] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, to: str) -> tuple[str, str, Begun]:
        """(state, the browser's secret, the login)."""
        state, browser = new_secret(), new_secret()
        login = Begun(new_secret(), new_secret() + new_secret(), to, digest_of(browser), self.now())
        with self.lock:
            self.begun[state] = login
            while len(self.begun) > MOST:
                self.begun.popitem(last=False)
        return state, browser, login

    def take(self, state: str, browser: str) -> Begun | None:
        """The login of that state, for the browser that began it, once. None for any other, and for a replay."""
        with self.lock:
            login = self.begun.get(state)
            if login is None or login.browser != digest_of(browser):
                return None
            del self.begun[state]
        return login if self.now() - login.at < LASTS_SECONDS else None
