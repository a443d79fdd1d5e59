"""DICOM TLS: who gets in, and that everybody else is refused within a second."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import Dataset

from rtseg_daemon.config.sections import DestinationPeer, Tls
from rtseg_daemon.dicom.association import Local, Waits, echo_and_security
from rtseg_daemon.dicom.tls import client_context
from rtseg_daemon.errors import DeliveryError
from tests.certificates import Authority, Pair, openssl
from tests.peers import program
from tests.receiver import ECHO_PDUS, RELEASE, Peer, Receiver, answers, echo_seconds, request_pdu, running
from tests.rude import Caller, Rude
from tests.world import free_port, wait_for

LIMIT_SECONDS = 1.0
LONG_AGO = ("20200101000000Z", "20210101000000Z")


@dataclass(frozen=True)
class World:
    """The certificates of the test's hospital."""

    ca: Authority
    server: Pair
    pacs: Pair
    other: Pair
    expired: Pair
    foreign: Pair


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("ca")
    ca, stranger = Authority(folder / "ours"), Authority(folder / "theirs")
    return World(
        ca,
        ca.issue("rtseg"),
        ca.issue("pacs", san="DNS:pacs.example"),
        ca.issue("other", san="DNS:other.example"),
        ca.issue("expired", san="DNS:pacs.example,IP:127.0.0.1", days=LONG_AGO),
        stranger.issue("foreign", san="DNS:pacs.example,IP:127.0.0.1"),
    )


@pytest.fixture(scope="module")
def secure(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver with both ports; PACS is bound by SAN, BOUND by fingerprint, HONEST by nothing."""
    callers = [
        {"ae_title": "PACS", "host": "127.0.0.1", "san": "pacs.example"},
        {"ae_title": "BOUND", "host": "127.0.0.1", "fingerprint": world.pacs.fingerprint},
        {"ae_title": "HONEST", "host": "127.0.0.1"},
    ]
    yield from running(
        tmp_path_factory.mktemp("secure"), tls_section(world, free_port()) | {"allowed_callers": callers}
    )


def tls_section(world: World, port: int, **more: Any) -> dict[str, Any]:
    files = {"certificate": world.server.certificate, "key": world.server.key, "ca": world.ca.certificate}
    return {"tls": {"port": port, **{name: str(path) for name, path in files.items()}, **more}}


def tls_port(receiver: Receiver) -> int:
    port: int = yaml.safe_load(receiver.config.read_text())["dicom"]["tls"]["port"]
    return port


def client(world: World, pair: Pair | None, *, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(world.ca.certificate))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    if newest is not None:
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = newest
    return context


def associate(port: int, context: ssl.SSLContext, title: str = "PACS") -> int:
    """Type of the answer to an association request over TLS: 2 accepted, 3 rejected, 0 refused before that."""
    with Peer(port, 5.0) as peer:
        try:
            peer.socket = context.wrap_socket(peer.socket, server_hostname="127.0.0.1")
            peer.say(request_pdu(calling=title))
        except OSError:
            return 0
        return peer.pdu()[0]


def timed(port: int, context: ssl.SSLContext, title: str = "PACS") -> int:
    began = time.monotonic()
    answer = associate(port, context, title)
    assert time.monotonic() - began < LIMIT_SECONDS
    return answer


@pytest.mark.parametrize("title", ["PACS", "BOUND", "HONEST"])
def test_a_caller_with_its_own_certificate_is_accepted(secure: Receiver, world: World, title: str) -> None:
    assert timed(tls_port(secure), client(world, world.pacs), title) == 2


@pytest.mark.parametrize("title", ["PACS", "BOUND"])
def test_a_spoofed_title_with_another_certificate_of_the_same_ca_is_rejected(
    secure: Receiver, world: World, title: str
) -> None:
    assert timed(tls_port(secure), client(world, world.other), title) == 3


@pytest.mark.parametrize("title", ["PACS", "BOUND"])
def test_a_bound_title_is_rejected_on_the_plain_port(secure: Receiver, title: str) -> None:
    with Peer(secure.port) as peer:
        assert peer.associate(calling=title) == 3


def test_an_expired_certificate_is_refused(secure: Receiver, world: World) -> None:
    assert timed(tls_port(secure), client(world, world.expired)) == 0


def test_a_certificate_of_an_unknown_ca_is_refused(secure: Receiver, world: World) -> None:
    assert timed(tls_port(secure), client(world, world.foreign)) == 0


def test_a_client_without_a_certificate_is_refused(secure: Receiver, world: World) -> None:
    assert timed(tls_port(secure), client(world, None)) == 0


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_an_old_protocol_is_refused(secure: Receiver, world: World, version: ssl.TLSVersion) -> None:
    assert timed(tls_port(secure), client(world, world.pacs, newest=version)) == 0


def test_tls_1_3_is_preferred_and_1_2_accepted(secure: Receiver, world: World) -> None:
    for newest, expected in ((None, "TLSv1.3"), (ssl.TLSVersion.TLSv1_2, "TLSv1.2")):
        context = client(world, world.pacs)
        if newest is not None:
            context.maximum_version = newest
        with Peer(tls_port(secure)) as peer:
            peer.socket = context.wrap_socket(peer.socket, server_hostname="127.0.0.1")
            assert peer.socket.version() == expected


def test_a_cipher_without_forward_secrecy_is_refused(secure: Receiver, world: World) -> None:
    context = client(world, world.pacs)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES256-GCM-SHA384")
    assert timed(tls_port(secure), context) == 0


def test_plaintext_on_the_tls_port_is_refused(secure: Receiver) -> None:
    began = time.monotonic()
    with Peer(tls_port(secure)) as peer:
        assert peer.associate() not in (2, 3)
    assert time.monotonic() - began < LIMIT_SECONDS


def test_tls_on_the_plain_port_is_refused(secure: Receiver, world: World) -> None:
    assert timed(secure.port, client(world, world.pacs)) == 0


def test_silent_tls_clients_do_not_block_the_listener(secure: Receiver, world: World) -> None:
    """More than may be connected at all: the oldest are put out, in the middle of their handshake."""
    silent = [socket.create_connection(("127.0.0.1", tls_port(secure))) for _ in range(300)]
    try:
        assert timed(tls_port(secure), client(world, world.pacs)) == 2
        assert echo_seconds(secure.port) < LIMIT_SECONDS
    finally:
        for quiet in silent:
            quiet.close()


def test_new_certificates_are_used_without_a_restart(world: World, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("certificate", "key", "ca")}
    copy_pair(world.server, files)
    shutil.copy(world.ca.certificate, files["ca"])
    section = {"tls": {"port": free_port(), **{name: str(path) for name, path in files.items()}}}
    with contextlib.contextmanager(running)(tmp_path / "r", section) as receiver:
        assert shown_certificate(world, tls_port(receiver)) == der(world.server)
        renewed = world.ca.issue("renewed")
        copy_pair(renewed, files)
        assert shown_certificate(world, tls_port(receiver)) == der(renewed)
        files["key"].write_text("broken")
        assert shown_certificate(world, tls_port(receiver)) == der(renewed)


def copy_pair(pair: Pair, files: dict[str, Path]) -> None:
    for source, name in ((pair.certificate, "certificate"), (pair.key, "key")):
        part = files[name].with_suffix(".part")
        shutil.copy(source, part)
        part.rename(files[name])


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.read_text())


def shown_certificate(world: World, port: int) -> bytes | None:
    with Peer(port) as peer:
        peer.socket = client(world, world.pacs).wrap_socket(peer.socket, server_hostname="127.0.0.1")
        return peer.socket.getpeercert(binary_form=True)


def test_an_object_stored_over_tls_is_kept(secure: Receiver, world: World, image: Dataset) -> None:
    with Peer(tls_port(secure)) as peer:
        peer.socket = client(world, world.pacs).wrap_socket(peer.socket, server_hostname="127.0.0.1")
        assert peer.associate(calling="PACS") == 2
        assert peer.store(image) == 0
        peer.say(ECHO_PDUS)
        assert peer.status() == 0
        peer.say(RELEASE)
        assert peer.pdu()[0] == 6
    assert secure.has(image.SOPInstanceUID)


@pytest.mark.peers
def test_storescu_of_dcmtk_sends_over_tls(secure: Receiver, world: World, image: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    image.save_as(path, enforce_file_format=True)
    command = [program("storescu"), "-aet", "PACS", "-aec", "RTSEG", "+tls", world.pacs.key, world.pacs.certificate,
               "+cf", world.ca.certificate, "127.0.0.1", tls_port(secure), path]  # fmt: skip
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert secure.has(image.SOPInstanceUID)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["expired", "foreign", "other"])
def test_storescu_of_dcmtk_is_refused_with_a_certificate_that_is_not_the_callers(
    secure: Receiver, world: World, image: Dataset, tmp_path: Path, name: str
) -> None:
    """Expired, of an unknown CA, or of our CA for another name than the title is bound to."""
    path, pair = tmp_path / "image.dcm", getattr(world, name)
    image.save_as(path, enforce_file_format=True)
    command = [program("storescu"), "-to", "3", "-aet", "PACS", "-aec", "RTSEG", "+tls", pair.key, pair.certificate,
               "+cf", world.ca.certificate, "127.0.0.1", tls_port(secure), path]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=20, check=False)
    assert time.monotonic() - began < LIMIT_SECONDS
    assert done.returncode != 0
    assert not secure.has(image.SOPInstanceUID)


@pytest.mark.peers
def test_storescu_of_dcmtk_without_tls_is_refused_on_the_tls_port(secure: Receiver) -> None:
    began = time.monotonic()
    command = [program("echoscu"), "-to", "3", "-aet", "PACS", "-aec", "RTSEG", "127.0.0.1", str(tls_port(secure))]
    assert subprocess.run(command, capture_output=True, timeout=20, check=False).returncode != 0
    assert time.monotonic() - began < LIMIT_SECONDS


def test_s_client_of_openssl_agrees_on_tls_1_3(secure: Receiver, world: World) -> None:
    ours = ("-cert", world.pacs.certificate, "-key", world.pacs.key, "-CAfile", world.ca.certificate)
    printed = openssl("s_client", "-connect", f"127.0.0.1:{tls_port(secure)}", *ours, "-no_ign_eof")
    assert "New, TLSv1.3" in printed
    assert "Verify return code: 0 (ok)" in printed


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_s_client_of_openssl_is_refused_with_an_old_protocol(secure: Receiver, world: World, version: str) -> None:
    ours = ["-cert", world.pacs.certificate, "-key", world.pacs.key, "-CAfile", world.ca.certificate]
    where = ["-connect", f"127.0.0.1:{tls_port(secure)}", version, "-cipher", "DEFAULT@SECLEVEL=0"]
    began = time.monotonic()
    with pytest.raises(AssertionError, match="alert protocol version"):
        openssl("s_client", *where, *ours)
    assert time.monotonic() - began < LIMIT_SECONDS


def test_a_client_silent_in_its_handshake_is_cut_off_in_time(world: World, tmp_path: Path) -> None:
    section = tls_section(world, free_port()) | {"request_seconds": 1}
    with contextlib.contextmanager(running)(tmp_path, section) as receiver, Peer(tls_port(receiver), 10.0) as peer:
        began = time.monotonic()
        peer.say(b"\x16\x03\x01")
        assert peer.pdu()[0] == 0
        assert time.monotonic() - began < 3.0


def test_a_certificate_of_a_ca_that_was_replaced_is_refused_without_a_restart(world: World, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    shutil.copy(world.ca.certificate, ca)
    section = tls_section(world, free_port())
    section["tls"]["ca"] = str(ca)
    with contextlib.contextmanager(running)(tmp_path / "r", section) as receiver:
        assert associate(tls_port(receiver), client(world, world.pacs)) == 2
        successor = Authority(tmp_path / "successor")
        shutil.copy(successor.certificate, ca.with_suffix(".part"))
        ca.with_suffix(".part").rename(ca)
        assert timed(tls_port(receiver), client(world, world.pacs)) == 0
        assert timed(tls_port(receiver), client(world, successor.issue("pacs", san="DNS:pacs.example"))) == 2


@pytest.mark.parametrize(
    ("name", "why"), [("other", r"127\.0\.0\.1"), ("expired", "expired"), ("foreign", "unable to get local issuer")]
)
def test_as_a_client_we_refuse_a_server_that_is_not_who_it_should_be(world: World, name: str, why: str) -> None:
    """A certificate of the right CA for another host; one that has expired; one of another CA."""
    pair = getattr(world, name)
    with pytest.raises(ssl.SSLCertVerificationError, match=why):
        handshake(*ends(world, pair))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_as_a_client_we_refuse_an_old_protocol(world: World) -> None:
    with pytest.raises(ssl.SSLError, match="protocol"):
        handshake(*ends(world, world.server, newest=ssl.TLSVersion.TLSv1_1))


def ends(world: World, pair: Pair, newest: ssl.TLSVersion | None = None) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Our client's end, and that of a server which shows `pair`."""
    tls = Tls(certificate=world.server.certificate, key=world.server.key, ca=world.ca.certificate)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.key)
    if newest is not None:
        server.set_ciphers("DEFAULT@SECLEVEL=0")
        server.minimum_version, server.maximum_version = ssl.TLSVersion.TLSv1, newest
    ours, theirs = socket.socketpair()
    return (
        client_context(tls).wrap_socket(ours, server_hostname="127.0.0.1", do_handshake_on_connect=False),
        server.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False),
    )


def handshake(*both: ssl.SSLSocket) -> None:
    """Drive both ends of one connection from one thread; raises what our end, the first, raises."""
    with both[0], both[1]:
        for _ in range(100):
            for end in both:
                end.setblocking(False)
                with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    end.do_handshake()


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x03\x00"])
def test_as_a_client_we_leave_a_server_that_is_silent_in_its_handshake(world: World, said: bytes) -> None:
    def greet(caller: Caller) -> None:
        caller.say(said)
        caller.wait_for_the_end()

    files = {"certificate": world.pacs.certificate, "key": world.pacs.key, "ca": world.ca.certificate}
    with Rude(greet=greet).running() as rude:
        partner = DestinationPeer(name="tps", ae_title="TPS", host="127.0.0.1", port=rude.port, tls=True)
        began = time.monotonic()
        with pytest.raises(DeliveryError, match="no connection over TLS"):
            echo_and_security(Local("RTSEG", Tls(**files)), partner, Waits(1, 1, 1))
        assert time.monotonic() - began < 3.0


@pytest.mark.peers
def test_echo_over_tls_to_dcmtk_says_what_was_agreed_on(world: World, tmp_path: Path) -> None:
    port = free_port()
    command = [program("storescp"), "-aet", "TPS", "+tls", world.server.key, world.server.certificate,
               "+cf", world.ca.certificate, "-od", tmp_path, port]  # fmt: skip
    files = {"certificate": world.pacs.certificate, "key": world.pacs.key, "ca": world.ca.certificate}
    partner = DestinationPeer(name="tps", ae_title="TPS", host="127.0.0.1", port=port, tls=True)
    with subprocess.Popen([str(part) for part in command]) as peer:
        try:
            wait_for(lambda: answers(port), 20)
            status, security = echo_and_security(Local("RTSEG", Tls(**files)), partner)
        finally:
            peer.terminate()
    assert status == 0
    assert security.startswith(("TLSv1.2, ECDHE-", "TLSv1.3, TLS_"))
    assert security.endswith(world.server.fingerprint.replace(":", "").lower())


@pytest.mark.peers
def test_a_partner_without_tls_is_not_spoken_to_where_tls_is_asked_for(world: World, tmp_path: Path) -> None:
    port = free_port()
    partner = DestinationPeer(name="tps", ae_title="TPS", host="127.0.0.1", port=port, tls=True)
    files = {"certificate": world.pacs.certificate, "key": world.pacs.key, "ca": world.ca.certificate}
    with subprocess.Popen([program("storescp"), "-aet", "TPS", "-od", str(tmp_path), str(port)]) as peer:
        try:
            wait_for(lambda: answers(port), 20)
            with pytest.raises(DeliveryError, match="no connection"):
                echo_and_security(Local("RTSEG", Tls(**files)), partner, Waits(2, 2, 2))
        finally:
            peer.terminate()


def test_a_client_whose_certificate_is_refused_is_counted_with_the_reason(secure: Receiver, world: World) -> None:
    assert associate(tls_port(secure), client(world, world.foreign)) == 0
    query = "select reason from rejected_caller where host = '127.0.0.1' and calling_ae = ''"
    wait_for(lambda: secure.rows(query), 20)
    assert any("TLS was not agreed on: certificate verify failed" in reason for (reason,) in secure.rows(query))
