"""What `status` says is wrong: each case alone, in words that say what to do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from rtseg_daemon.config.sections import DestinationPeer, Tls
from rtseg_daemon.config.web import Web, WebTls
from rtseg_daemon.dicom.validity import EndOfCertificate, end_of, ends_in
from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger.cards import Card, CardsInRay
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Alarm
from rtseg_daemon.ledger.supervision import Pulse
from rtseg_daemon.upkeep import certificates
from rtseg_daemon.upkeep.health import Observations, problems, stopped
from tests.certificates import Authority
from tests.world import free_port, wait_for

DAY = 86400.0
RECEIVER: dict[str, Any] = {"name": "receiver", "pid": 7, "state": "running", "detail": None}
WELL = Observations(running=True, processes=[RECEIVER], pulse=Pulse(6, 100.0, {"receiver": 0.5}), now=103.0)

REFUSED_CARD = Card("a-1", "gpu1", 1, "GPU", "refused", 0.0, detail="this node runs rtseg-daemon 0.9")


def changed(**facts: Any) -> Observations:
    return Observations(**vars(WELL) | facts)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (changed(running=False), "rtseg-daemon serve"),
        (changed(read_only=True), "takes no writes"),
        (changed(ray=CardsInRay("away", 0.0, "head:6379", "no Ray head answers")), "are away, and workers of the daem"),
        (changed(ray=CardsInRay("up", 0.0, "head:6379", cards=(REFUSED_CARD,))), "card 1 of gpu1 in Ray takes no jobs"),
        (changed(ledger="the ledger is damaged"), "the ledger cannot be used: the ledger is damaged"),
        (changed(processes=[RECEIVER | {"state": "frozen", "detail": "no sign"}]), "receiver is frozen (no sign)"),
        (changed(stopped=frozenset({7})), "receiver is stopped by a signal; go on with: kill -CONT 7"),
        (changed(stopped=frozenset({6})), "the supervisor is stopped by a signal; go on with: kill -CONT 6"),
        (changed(now=100.0 + 3600), "the supervisor gave no sign of life for 3600 s"),
        (changed(pulse=Pulse(6, 100.0, {"receiver": 45.0})), "receiver gave no sign of life for 45 s"),
        (changed(pulse=Pulse(6, 100.0, {}, {"sweep": 200.0})), "'sweep' has not ended without an error for 200 s"),
        (changed(certificates=[EndOfCertificate("this daemon", 0.0, -1.0)]), "this daemon ended on 1970-01-01"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(facts: Observations, said: str) -> None:
    (problem,) = problems(facts)
    assert said in problem


def test_nothing_is_wrong_with_a_daemon_that_runs_well() -> None:
    assert problems(WELL) == []
    assert problems(changed(certificates=[EndOfCertificate("this daemon", 9e9, 40 * DAY)])) == []


def test_a_process_that_a_signal_has_stopped_is_seen_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert stopped([process.pid, None]) == frozenset()
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: stopped([process.pid, os.getpid(), None]) == {process.pid}, 10)
        process.kill()
    assert stopped([process.pid]) == frozenset()


# --- certificates ----------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def tls_of(authority: Authority, **issued: Any) -> Tls:
    pair = authority.issue("own", **issued)
    return Tls(certificate=pair.certificate, key=pair.key, ca=authority.certificate)


def test_the_end_of_a_certificate_is_read_to_the_second(authority: Authority) -> None:
    early = authority.issue("early", days=("20200101000000Z", "20210203040506Z"))
    late = authority.issue("late", days=("20200101000000Z", "20610203040506Z"))
    assert ends_in(early.certificate) == [1612325106.0]
    assert ends_in(late.certificate) == [2874629106.0]
    both = authority.folder / "both.pem"
    both.write_text(early.certificate.read_text() + late.certificate.read_text())
    assert ends_in(both) == [1612325106.0, 2874629106.0]


@pytest.mark.parametrize("broken", [b"", b"\x30", b"\x30\x82", b"\x30\x03\x02\x01\x05", bytes(range(64))])
def test_what_is_no_certificate_is_an_error_and_no_date(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        end_of(broken)


def test_a_file_without_a_certificate_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    nothing = tmp_path / "own.pem"
    with pytest.raises(ConfigError, match=r"own\.pem"):
        certificates.own_ends(Tls(certificate=nothing, key=nothing, ca=nothing), 0.0)


@pytest.mark.parametrize(
    ("days", "stage"), [(40.0, None), (29.0, "30"), (8.0, "30"), (6.0, "7"), (0.0, "ended"), (-100.0, "ended")]
)
def test_an_alarm_comes_30_days_before_the_end_7_days_before_and_at_the_end(days: float, stage: str | None) -> None:
    assert EndOfCertificate("x", 0.0, days * DAY).stage() == stage


def test_each_stage_of_each_certificate_is_told_once(ledger: Engine, authority: Authority) -> None:
    tls = tls_of(authority)
    (end,) = ends_in(tls.certificate)
    for now in (end - 20 * DAY, end - 19 * DAY, end - 3 * DAY, end + 1.0, end + 2.0):
        certificates.tell(ledger, [EndOfCertificate("this daemon", end, end - now)], now)
    with reading(ledger) as session:
        told = [alarm.message for alarm in session.query(Alarm)]
    assert [message.split(" on ")[0] for message in told] == [
        "the certificate of this daemon ends in 20 days,",
        "the certificate of this daemon ends in 3 days,",
        "the certificate of this daemon ended",
    ]


def test_a_peers_certificate_is_read_though_it_has_ended(authority: Authority) -> None:
    ended = authority.issue("tps", days=("20200101000000Z", "20210203040506Z"))
    port = free_port()
    command = ["openssl", "s_server", "-accept", str(port), "-cert", ended.certificate, "-key", ended.key, "-quiet"]
    peer = DestinationPeer(name="tps", ae_title="TPS", host="127.0.0.1", port=port, tls=True)
    tls = tls_of(authority)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as server:
        found: list[EndOfCertificate] = []

        def asked() -> bool:
            try:
                found.append(certificates.peer_end(tls, peer, time.time()))
            except ConnectionRefusedError:
                return False
            return True

        wait_for(asked, 20)
        server.kill()
    assert (found[0].ends, found[0].stage()) == (1612325106.0, "ended")
    assert found[0].whose == f"tps (127.0.0.1:{port})"


def test_the_dashboards_certificate_is_watched_too(tmp_path: Path) -> None:
    pair = Authority(tmp_path / "ca").issue("web", days=("20200101000000Z", "20200201000000Z"))
    section = Web(tls=WebTls(certificate=pair.certificate, key=pair.key))
    (end,) = certificates.web_ends(section, time.time())
    assert f"the dashboard ({pair.certificate}) ended on 2020-02-01" in end.sentence()
    assert certificates.web_ends(section.model_copy(update={"enabled": False}), time.time()) == []
    broken = Web(tls=WebTls(certificate=tmp_path / "none.pem", key=pair.key))
    with pytest.raises(ConfigError, match=r"web\.tls"):
        certificates.web_ends(broken, time.time())
