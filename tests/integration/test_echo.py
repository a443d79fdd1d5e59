"""`rtseg-daemon echo` says what is wrong with a peer, one sentence for each cause, and what to do."""

import json
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rtseg_daemon import cli
from rtseg_daemon.dicom import probe
from rtseg_daemon.receive.negotiation import TOO_MANY, UNKNOWN_CALLED, UNKNOWN_CALLER, Rejection
from tests.certificates import Authority, Pair
from tests.peers import Archive, Storescp, program
from tests.receiver import Receiver, answers, running
from tests.rude import Asked, Caller, Rude, answer
from tests.world import free_port, wait_for

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@dataclass(frozen=True)
class Papers:
    """Our certificate and theirs, of one CA, and certificates that do not fit."""

    ca: Authority
    stranger: Authority
    ours: Pair
    theirs: Pair
    elsewhere: Pair
    expired: Pair
    foreign: Pair


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("ca")
    ca, stranger = Authority(folder / "ours"), Authority(folder / "theirs")
    return Papers(
        ca,
        stranger,
        ca.issue("rtseg"),
        ca.issue("tps"),
        ca.issue("elsewhere", san="DNS:elsewhere.example"),
        ca.issue("expired", days=("20200101000000Z", "20210101000000Z")),
        stranger.issue("foreign"),
    )


class Desk:
    """An administrator with one destination, `tps`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.file, self.monkeypatch, self.capsys = folder / "config.yaml", monkeypatch, capsys
        monkeypatch.setattr(probe, "SECONDS", 1.0)

    def echo(self, port: int, *arguments: str, papers: Papers | None = None, **peer: Any) -> str:
        """What is printed for a destination that should fail, both streams; the exit status must be 1."""
        status, printed = self.ask(port, *arguments, papers=papers, **peer)
        assert status == 1, printed
        return printed

    def ask(self, port: int, *arguments: str, papers: Papers | None = None, **peer: Any) -> tuple[int, str]:
        destination = {"name": "tps", "ae_title": "TPS", "host": "127.0.0.1", "port": port} | peer
        dicom: dict[str, Any] = {"ae_title": "RTSEG"}
        if papers is not None:
            files = {"certificate": papers.ours.certificate, "key": papers.ours.key, "ca": papers.ca.certificate}
            dicom["tls"] = {name: str(path) for name, path in files.items()}
            destination["tls"] = True
        self.file.write_text(yaml.safe_dump({"dicom": dicom, "destinations": [destination]}))
        self.monkeypatch.setattr("sys.argv", ["rtseg-daemon", "echo", "tps", *arguments, "--config", str(self.file)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = self.capsys.readouterr()
        return int(ended.value.code or 0), captured.out + captured.err


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, monkeypatch, capsys)


def rejecting(refusal: Rejection) -> Callable[[Caller], None]:
    def greet(caller: Caller) -> None:
        caller.pdu()
        caller.say(refusal.encode())

    return greet


@contextmanager
def tls_service(pair: Pair, ca: Path | None = None) -> Iterator[int]:
    """A TLS server that asks for a certificate of `ca`, if any, and says no word of DICOM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(ca)

    def greet(caller: Caller) -> None:
        with context.wrap_socket(caller.socket, server_side=True) as wrapped:
            wrapped.recv(1000)

    with Rude(greet=greet).running() as rude:
        yield rude.port


# --- no connection ----------------------------------------------------------------------------------------------------


def test_a_refused_connection_is_told_with_what_to_do(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        gone = nobody.getsockname()[1]
    printed = desk.echo(gone)
    assert f"tps at 127.0.0.1:{gone}: the machine refuses connections on port {gone}: Connection refused" in printed
    assert "What to do: start the DICOM service there, or correct `host` and `port` of tps." in printed


def test_a_name_that_cannot_be_resolved_is_told_with_what_to_do(desk: Desk) -> None:
    printed = desk.echo(104, host="no-such-host.invalid")
    assert "the name no-such-host.invalid cannot be looked up" in printed
    assert "What to do: correct `host` of tps" in printed


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.peers
def test_plain_against_a_tls_peer_is_told_with_what_to_do(desk: Desk, papers: Papers, tmp_path: Path) -> None:
    port = free_port()
    command = [program("storescp"), "-aet", "TPS", "+tls", papers.theirs.key, papers.theirs.certificate,
               "+cf", papers.ca.certificate, "-od", tmp_path, port]  # fmt: skip
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL) as peer:
        try:
            wait_for(lambda: answers(port), 20)
            printed = desk.echo(port)
            status, secure = desk.ask(port, papers=papers)
        finally:
            peer.terminate()
    assert "it speaks TLS on this port" in printed
    assert "What to do: set `tls: true` for tps, or correct `port`." in printed
    assert (status, "TLSv1." in secure) == (0, True)


def test_plain_against_any_tls_service_is_told_too(desk: Desk, papers: Papers) -> None:
    with tls_service(papers.theirs) as port:
        assert "it speaks TLS on this port" in desk.echo(port)


@pytest.mark.peers
def test_tls_against_a_plain_peer_is_told_with_what_to_do(desk: Desk, papers: Papers, tmp_path: Path) -> None:
    with Storescp(tmp_path / "tps").running() as tps:
        printed = desk.echo(tps.port, papers=papers)
    assert "it does not speak TLS on this port" in printed
    assert "turn on TLS at tps, correct `port`, or set `tls: false`" in printed


def test_tls_against_a_plain_peer_that_only_hangs_up_is_told_too(desk: Desk, papers: Papers) -> None:
    def greet(caller: Caller) -> None:
        if caller.socket.recv(1, socket.MSG_PEEK) == b"\1":
            caller.say(caller.accepting())
        else:
            caller.socket.close()

    with Rude(greet=greet).running() as rude:
        assert "it does not speak TLS on this port" in desk.echo(rude.port, papers=papers)


def test_a_certificate_of_another_ca_is_told_with_what_to_do(desk: Desk, papers: Papers) -> None:
    with tls_service(papers.foreign) as port:
        printed = desk.echo(port, papers=papers)
    assert "its certificate is not of the CA in dicom.tls.ca" in printed
    assert "What to do: put the CA of tps into dicom.tls.ca" in printed


def test_a_certificate_for_another_host_is_told_with_what_to_do(desk: Desk, papers: Papers) -> None:
    with tls_service(papers.elsewhere) as port:
        printed = desk.echo(port, papers=papers)
    assert "its certificate is for another host" in printed
    assert "write `host` of tps as its certificate has it" in printed


def test_an_expired_certificate_is_told_with_what_to_do(desk: Desk, papers: Papers) -> None:
    with tls_service(papers.expired) as port:
        printed = desk.echo(port, papers=papers)
    assert "its certificate does not count at this time: certificate has expired" in printed
    assert "get a new certificate" in printed


@pytest.mark.parametrize("time", range(3))
def test_an_unknown_client_certificate_is_told_with_what_to_do(desk: Desk, papers: Papers, time: int) -> None:
    with tls_service(papers.theirs, papers.stranger.certificate) as port:
        printed = desk.echo(port, papers=papers)
    assert "it does not take our certificate" in printed
    assert "have the CA of our certificate (dicom.tls.certificate) trusted by tps" in printed


# --- not DICOM, and rejections ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_service_that_is_not_dicom_is_told_with_what_to_do(desk: Desk, greeting: bytes) -> None:
    def greet(caller: Caller) -> None:
        caller.say(greeting)
        caller.wait_for_the_end()

    with Rude(greet=greet).running() as rude:
        printed = desk.echo(rude.port)
    assert f"its answer is not DICOM, it begins with '{greeting[:6].decode()}'" in printed
    assert f"correct `port` of tps: another service listens on {rude.port}" in printed


def test_a_peer_that_hangs_up_is_told_with_what_to_look_at(desk: Desk) -> None:
    with Rude(greet=lambda caller: caller.pdu() and caller.socket.close()).running() as rude:
        printed = desk.echo(rude.port)
    assert "it takes the connection and answers nothing: the peer closed the connection" in printed
    assert "knows RTSEG" in printed


@pytest.mark.parametrize(
    ("refusal", "words", "remedy"),
    [
        (
            UNKNOWN_CALLED,
            "rejected-permanent, DICOM UL service-user, called-AE-title-not-recognized",
            "correct `ae_title` of tps: it is not TPS",
        ),
        (
            UNKNOWN_CALLER,
            "rejected-permanent, DICOM UL service-user, calling-AE-title-not-recognized",
            "enter RTSEG with this machine's address among the callers that tps knows",
        ),
        (
            TOO_MANY,
            "rejected-transient, DICOM UL service-provider (Presentation related function), local-limit-exceeded",
            "wait; if it lasts, allow more associations at tps",
        ),
        (
            Rejection(1, 1, 1, ""),
            "rejected-permanent, DICOM UL service-user, no-reason-given",
            "see the log of tps",
        ),
    ],
)
def test_a_rejected_title_is_told_in_the_standards_words(
    desk: Desk, refusal: Rejection, words: str, remedy: str
) -> None:
    with Rude(greet=rejecting(refusal)).running() as rude:
        printed = desk.echo(rude.port)
    assert f"tps at 127.0.0.1:{rude.port}: rejected: {words}" in printed
    assert f"What to do: {remedy}" in printed


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Receiver]:
    """Our own listener, which knows nobody but SOMEONE."""
    yield from running(tmp_path / "peer", {"allowed_callers": [{"ae_title": "SOMEONE", "host": "127.0.0.1"}]})


def test_our_own_listener_rejects_in_words_that_echo_understands(desk: Desk, strict: Receiver) -> None:
    assert "calling-AE-title-not-recognized" in desk.echo(strict.port, ae_title="RTSEG")


@pytest.mark.peers
def test_dcmtk_rejects_an_unknown_title_in_words_that_echo_understands(desk: Desk, tmp_path: Path) -> None:
    with Archive(tmp_path / "pacs", 1).running() as archive:
        printed = desk.echo(archive.port, ae_title="NOBODY")
    assert "called-AE-title-not-recognized" in printed
    assert "correct `ae_title` of tps: it is not NOBODY" in printed


def test_an_answer_that_is_no_success_is_told_in_words(desk: Desk) -> None:
    def refuse(caller: Caller, asked: Asked) -> None:
        caller.say(answer(asked, 0x0122))

    with Rude(meet=refuse).running() as rude:
        assert "C-ECHO was answered by 0x0122, refused: SOP class not supported" in desk.echo(rude.port)


def test_echo_prints_one_json_document_whether_it_fails_or_not(desk: Desk) -> None:
    with Rude(greet=rejecting(UNKNOWN_CALLED)).running() as rude:
        failed = json.loads(desk.echo(rude.port, "--json"))
    assert (failed["ok"], failed["problem"], failed["status"]) == (False, "called title", None)
    assert "called-AE-title-not-recognized" in failed["message"]
    assert "ae_title" in failed["what_to_do"]
    with Rude().running() as polite:
        status, printed = desk.ask(polite.port, "--json")
    assert status == 0
    document = json.loads(printed)
    assert (document["ok"], document["status"], document["tls"]) == (True, "0x0000", "not encrypted")
