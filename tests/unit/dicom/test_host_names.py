"""A name service that hangs or is away: callers wait no longer than they may, and the last answer counts."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from rtseg_daemon.config.sections import DestinationPeer
from rtseg_daemon.dicom import names as names_module
from rtseg_daemon.dicom.association import Local, Waits, echo
from rtseg_daemon.dicom.names import Names
from rtseg_daemon.errors import DeliveryError
from tests.rude import Rude

HOST = "tps.hospital.example"
SECONDS = 0.4


class System:
    """The resolver of the system. `hang` keeps every call until the test ends."""

    def __init__(self) -> None:
        self.hang, self.calls = False, 0
        self.error: OSError | None = None
        self.ended = threading.Event()

    def getaddrinfo(self, _host: str, port: int, **_kind: Any) -> list[Any]:
        self.calls += 1
        if self.hang:
            self.ended.wait(20)
        if self.error is not None:
            raise self.error
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    system = System()
    monkeypatch.setattr(socket, "getaddrinfo", system.getaddrinfo)
    monkeypatch.setattr(names_module, "_names", Names())
    yield system
    system.ended.set()


def probe(port: int) -> int:
    peer = DestinationPeer(name="tps", ae_title="TPS", host=HOST, port=port)
    return echo(Local("RTSEG"), peer, Waits(connect=SECONDS, associate=2.0, answer=2.0))


def test_a_name_service_that_hangs_ends_an_attempt_in_time_and_says_so(system: System) -> None:
    system.hang = True
    began = time.monotonic()
    with pytest.raises(DeliveryError, match=r"cannot be looked up: the name service does not answer"):
        probe(104)
    assert SECONDS <= time.monotonic() - began < SECONDS + 1.5


def test_attempts_while_it_hangs_leave_one_thread_behind_and_no_more(system: System) -> None:
    system.hang = True
    for _ in range(5):
        with pytest.raises(OSError, match="does not answer"):
            names_module.looked_up(HOST, 104, 0.02)
    assert system.calls == 1
    assert [one.name for one in threading.enumerate()].count("name") == 1


def test_the_last_answer_counts_while_it_hangs_and_leaves_time_to_connect(system: System) -> None:
    with Rude().running() as rude:
        assert probe(rude.port) == 0
        system.hang = True
        assert probe(rude.port) == 0
    assert system.calls == 2


def test_the_last_answer_counts_while_it_is_away(system: System) -> None:
    with Rude().running() as rude:
        assert probe(rude.port) == 0
        system.error = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        assert probe(rude.port) == 0


def test_a_name_that_is_gone_is_not_called_at_its_old_address(system: System) -> None:
    with Rude().running() as rude:
        assert probe(rude.port) == 0
        system.error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        with pytest.raises(DeliveryError, match="cannot be looked up: Name or service not known"):
            probe(rude.port)
        assert rude.calls == 1


def test_after_a_hang_the_answer_that_came_late_is_there(system: System) -> None:
    system.hang = True
    with pytest.raises(OSError, match="does not answer"):
        names_module.looked_up(HOST, 104, 0.02)
    system.hang = False
    system.ended.set()
    assert names_module.looked_up(HOST, 104, 2.0)[0][3] == ("127.0.0.1", 104)


def test_a_host_that_cannot_be_a_name_is_an_error_of_looking_up() -> None:
    """With the real system: Python refuses a label of more than 63 letters with an error that is no OSError."""
    with pytest.raises(OSError, match="no host name"):
        Names().look_up("a" * 70, 104, 2.0)
