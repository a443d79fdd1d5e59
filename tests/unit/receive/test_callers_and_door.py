import socket
import time

import pytest

from rtseg_daemon.config.sections import Caller
from rtseg_daemon.dicom.tls import Certificate
from rtseg_daemon.receive import callers as callers_module
from rtseg_daemon.receive import door as door_module
from rtseg_daemon.receive.callers import Callers, Resolver, bound, plain_address
from rtseg_daemon.receive.door import Door, idlest
from rtseg_daemon.receive.negotiation import (
    NOT_THIS_MACHINE,
    OTHER_ADDRESS,
    OTHER_CERTIFICATE,
    UNKNOWN_CALLED,
    UNKNOWN_CALLER,
)

PRINT = "ab" * 32


def callers(*allowed: Caller) -> Callers:
    return Callers("RTSEG", allowed)


def test_without_a_list_any_title_may_associate_from_loopback_only() -> None:
    assert callers().refusal("ANY", "RTSEG", "127.0.0.1", None) is None
    assert callers().refusal("ANY", "RTSEG", "::1", None) is None
    assert callers().refusal("ANY", "RTSEG", "10.0.0.5", None) is NOT_THIS_MACHINE


def test_title_and_address_must_both_be_those_of_one_entry() -> None:
    rule = callers(Caller(ae_title="A", host="10.0.0.1"), Caller(ae_title="B", host="10.0.0.2"))
    assert rule.refusal("A", "RTSEG", "10.0.0.1", None) is None
    assert rule.refusal("A", "RTSEG", "10.0.0.2", None) is OTHER_ADDRESS
    assert rule.refusal("C", "RTSEG", "10.0.0.1", None) is UNKNOWN_CALLER
    assert rule.refusal("A", "OTHER", "10.0.0.1", None) is UNKNOWN_CALLED


def test_a_title_that_is_bound_to_another_certificate_is_told_so_in_the_log() -> None:
    rule = callers(Caller(ae_title="A", host="10.0.0.1", fingerprint=PRINT))
    assert rule.refusal("A", "RTSEG", "10.0.0.1", None) is OTHER_CERTIFICATE
    assert rule.refusal("A", "RTSEG", "10.0.0.1", Certificate("cd" * 32)) is OTHER_CERTIFICATE
    assert rule.refusal("A", "RTSEG", "10.0.0.1", Certificate(PRINT)) is None


def test_what_the_peer_hears_does_not_tell_which_of_these_it_was() -> None:
    answers = {one.encode() for one in (UNKNOWN_CALLER, OTHER_ADDRESS, OTHER_CERTIFICATE, NOT_THIS_MACHINE)}
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("host", "address", "known"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("localhost", "127.0.0.1", True),
        ("no-such-host.invalid", "127.0.0.1", None),
        ("fd00::/8", "fd00::1", True),
    ],
)
def test_a_host_is_an_address_a_network_or_a_name(host: str, address: str, known: bool | None) -> None:
    assert Resolver().holds(host, address) is known


class Names:
    """The resolver of the system, which may be away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = False
        self.addresses = ["10.0.0.1"]
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)
        self.seconds = 1000.0
        monkeypatch.setattr(callers_module.time, "monotonic", lambda: self.seconds)

    def look_up(self, _host: str, _port: None) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        if self.away:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(2, 1, 6, "", (address, 0)) for address in self.addresses]


def test_a_known_caller_is_served_while_names_cannot_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    names, rule = Names(monkeypatch), callers(Caller(ae_title="A", host="pacs.hospital.example"))
    assert rule.refusal("A", "RTSEG", "10.0.0.1", None) is None
    names.away = True
    for _ in range(3):
        names.seconds += 3600.0
        assert rule.refusal("A", "RTSEG", "10.0.0.1", None) is None
        assert rule.refusal("A", "RTSEG", "10.0.0.2", None) is OTHER_ADDRESS
    names.away, names.addresses = False, ["10.0.0.2"]
    names.seconds += 3600.0
    assert rule.refusal("A", "RTSEG", "10.0.0.1", None) is OTHER_ADDRESS, "it has moved"
    assert rule.refusal("A", "RTSEG", "10.0.0.2", None) is None


def test_a_caller_whose_name_could_never_be_looked_up_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)
    names.away = True
    rule = callers(Caller(ae_title="A", host="pacs.hospital.example"), Caller(ae_title="B", host="10.0.0.2"))
    refusal = rule.refusal("A", "RTSEG", "10.0.0.1", None)
    assert refusal is not None
    assert refusal.result == 2, "rejected-transient (PS3.8, table 9-21)"
    assert rule.refusal("B", "RTSEG", "10.0.0.1", None) is OTHER_ADDRESS
    assert rule.refusal("C", "RTSEG", "10.0.0.1", None) is UNKNOWN_CALLER
    names.away = False
    assert rule.refusal("A", "RTSEG", "10.0.0.1", None) is None


def test_an_ipv4_address_on_an_ipv6_socket_is_still_one() -> None:
    assert plain_address("::ffff:10.0.0.5") == "10.0.0.5"
    assert plain_address("fd00::1") == "fd00::1"


@pytest.mark.parametrize(
    ("caller", "certificate", "expected"),
    [
        (Caller(ae_title="A", host="h"), None, True),
        (Caller(ae_title="A", host="h", fingerprint=PRINT), None, False),
        (Caller(ae_title="A", host="h", fingerprint=PRINT), Certificate(PRINT), True),
        (Caller(ae_title="A", host="h", fingerprint=PRINT), Certificate("cd" * 32), False),
        (Caller(ae_title="A", host="h", san="pacs.example"), Certificate("x", ("PACS.example",)), True),
        (Caller(ae_title="A", host="h", san="pacs.example"), Certificate("x", ("evil.example",)), False),
        (Caller(ae_title="A", host="h", san="p", fingerprint=PRINT), Certificate("cd" * 32, ("p",)), False),
    ],
)
def test_a_title_is_bound_to_its_certificate(caller: Caller, certificate: Certificate | None, expected: bool) -> None:
    assert bound(caller, certificate) == expected


class Visitor:
    def __init__(self, idle: float = 0.0) -> None:
        self.worth = time.monotonic() - idle
        self.gone = False

    def cut(self) -> None:
        self.gone = True


def test_the_oldest_in_a_full_waiting_room_is_put_out() -> None:
    door = Door(most=2, most_per_caller=2, most_waiting=3)
    visitors = [Visitor() for _ in range(5)]
    for visitor in visitors:
        door.arrive(visitor)
    assert [visitor.gone for visitor in visitors] == [True, True, False, False, False]


def test_a_waiting_connection_takes_no_association() -> None:
    door = Door(most=1, most_per_caller=1)
    for _ in range(10):
        door.arrive(Visitor())
    assert door.enter(Visitor(), ("A", "h"))


def test_one_caller_is_limited_and_others_are_not() -> None:
    door = Door(most=3, most_per_caller=2)
    assert [door.enter(Visitor(), ("A", "h")) for _ in range(3)] == [True, True, False]
    assert door.enter(Visitor(), ("B", "h"))
    assert not door.enter(Visitor(), ("C", "h"))


def test_the_idlest_makes_room_when_it_is_full() -> None:
    door = Door(most=2, most_per_caller=2)
    busy, silent, newcomer = Visitor(), Visitor(idle=60), Visitor()
    door.enter(busy, ("A", "h"))
    door.enter(silent, ("B", "h"))
    assert door.enter(newcomer, ("C", "h"))
    assert (busy.gone, silent.gone, newcomer.gone) == (False, True, False)


def test_a_caller_at_its_limit_pushes_out_only_its_own() -> None:
    door = Door(most=9, most_per_caller=1)
    other, own = Visitor(idle=600), Visitor(idle=60)
    door.enter(other, ("B", "h"))
    door.enter(own, ("A", "h"))
    assert door.enter(Visitor(), ("A", "h"))
    assert (other.gone, own.gone) == (False, True)


def test_who_left_makes_room() -> None:
    door = Door(most=1, most_per_caller=1)
    first = Visitor()
    door.arrive(first)
    door.enter(first, ("A", "h"))
    door.leave(first)
    assert door.enter(Visitor(), ("B", "h"))
    assert not door.waiting


def test_nobody_busy_is_put_out() -> None:
    now = time.monotonic()
    assert idlest([Visitor(), Visitor(idle=door_module.IDLE_SECONDS - 1)], now) is None
    assert idlest([], now) is None
