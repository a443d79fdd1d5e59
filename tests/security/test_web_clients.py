"""What a client may do to the dashboard's port: large, slow, many, forged. Everybody else is answered meanwhile."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from uvicorn.lifespan.off import LifespanOff

from rtseg_daemon.daemon.web import Server, settings
from rtseg_daemon.web.place import Place
from rtseg_daemon.web.safety import connections
from rtseg_daemon.web.safety.connections import Loop, is_one_too_many
from rtseg_daemon.web.safety.transport import Renewed
from tests.certificates import Authority, openssl
from tests.dashboard import make_place


@contextlib.contextmanager
def served(place: Place, configured: uvicorn.Config | None = None) -> Iterator[int]:
    """The dashboard behind uvicorn, as its process serves it, on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    configured = configured or settings(place)
    configured.lifespan_class = LifespanOff  # the viewer's reader is not asked here
    server = Server(configured)

    def run() -> None:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(server.serve(sockets=[listener]))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        place.engine.dispose()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(connections, "HEAD_SECONDS", 1.0)
        with served(make_place(tmp_path_factory.mktemp("web"))) as port:
            yield port


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def status_of(connection: socket.socket) -> int:
    """The status of the next answer, 0 where the server hung up without one."""
    try:
        head = connection.recv(65536)
    except ConnectionError:
        return 0
    return int(head.split()[1]) if head else 0


def answers(port: int) -> int:
    """What somebody else gets, and within a second."""
    began = time.monotonic()
    with connected(port) as other:
        other.sendall(b"GET /login HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        status = status_of(other)
    assert time.monotonic() - began < 5
    return status


def asked(port: int, request: bytes) -> int:
    with connected(port) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        return status_of(connection)


def test_a_body_of_a_gigabyte_is_answered_413_without_being_read(port: int) -> None:
    with connected(port) as client:
        client.sendall(b"POST /login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000000000\r\n\r\n")
        assert status_of(client) == 413
        with contextlib.suppress(ConnectionError):
            while client.recv(65536):
                pass
            assert client.recv(1) == b"", "the connection is closed"


def test_an_endless_body_in_chunks_is_answered_413(port: int) -> None:
    with connected(port) as client:
        head = b"POST /login HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n"
        client.sendall(head + b"content-type: application/x-www-form-urlencoded\r\n\r\n")
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(40):
                client.sendall(b"10000\r\n" + b"a" * 65536 + b"\r\n")
        assert status_of(client) in (413, 0)
    assert answers(port) == 200


def test_clients_that_are_silent_or_trickle_are_cut_off_and_others_are_answered(port: int) -> None:
    silent, trickling = [connected(port) for _ in range(20)], connected(port)
    trickling.sendall(b"GET /login HTTP/1.1\r\nhost: 127.")
    assert answers(port) == 200
    until = time.monotonic() + 10
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < until:
            trickling.sendall(b"0")
            time.sleep(0.1)
    assert time.monotonic() < until, "a byte now and then keeps no connection open"
    assert [status_of(one) for one in silent] == [0] * 20
    for one in (*silent, trickling):
        one.close()


def test_more_connections_of_one_client_than_it_needs_are_closed(port: int) -> None:
    many = [connected(port) for _ in range(connections.MOST_OF_ONE + 10)]
    many[-1].settimeout(0.8)
    assert status_of(many[-1]) == 0
    for one in many:
        one.close()
    time.sleep(0.3)
    assert answers(port) == 200


@pytest.mark.parametrize(
    ("total", "same", "proxied", "refused"),
    [(1, 1, False, False), (65, 65, False, True), (65, 65, True, False), (257, 1, False, True), (257, 257, True, True)],
)
def test_how_many_connections_there_may_be(total: int, same: int, proxied: bool, refused: bool) -> None:
    assert is_one_too_many(total, same, proxied) is refused


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../config.yaml",
        "/static/..%2f..%2f..%2fconfig.yaml",
        "/static/%2e%2e/%2e%2e/templates/login.html",
        "/static//etc/passwd",
        "/static/%00",
        "/static/....//....//etc/passwd",
        "/static/..\\..\\plain.py",
        "/static/" + "a" * 5000,
        "/static/%ff%fe",
        "/static",
        "/static/",
    ],
)
def test_no_path_leads_out_of_the_static_files(port: int, path: str) -> None:
    assert asked(port, f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()) in (307, 404)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /login HTTP/1.1\r\nhost: evil.example", 421),
        ("GET /login HTTP/1.1\r\nhost: evil.example#127.0.0.1", 400),
        ("GET /login HTTP/1.1\r\nhost: 127.0.0.1@evil.example", 400),
        ("GET /login HTTP/1.1\r\nhost: 127.0.0.1, evil.example", 400),
        ("GET /login HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example", 400),
        ("GET /login HTTP/1.1\r\nx: y", 400),
        ("GET /login HTTP/1.0", 400),
        ("GET /login HTTP/1.1\r\nhost: 127.0.0.1\r\nx-forwarded-host: evil.example", 200),
        ("GET /login HTTP/1.1\r\nhost: LOCALHOST.:8080", 200),
        ("GET /login HTTP/1.1\r\nhost: [::1]:8080", 200),
        ("GET /login\r\nhost: 127.0.0.1", 400),
        ("POST /login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\ncontent-length: 6", 400),
        ("POST /login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: -1", 400),
        ("GET /login HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + "a" * 2_000_000, 400),
        ("\x16\x03\x01\x02", 400),
    ],
)  # fmt: skip
def test_a_forged_or_broken_head_is_refused(port: int, head: str, status: int) -> None:
    found = asked(port, head.encode("latin-1") + b"\r\n\r\n")
    assert found == status or (found == 0 and len(head) > 1_000_000), "a long one may be cut off before it is answered"


def test_over_tls_old_versions_and_plain_text_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("web")
    place = make_place(tmp_path, tls={"certificate": str(pair.certificate), "key": str(pair.key)})
    with served(place) as port:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        with context.wrap_socket(connected(port), server_hostname="127.0.0.1") as client:
            client.sendall(b"GET /login HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            head = client.recv(65536)
            assert head.startswith(b"HTTP/1.1 200")
            assert b"strict-transport-security" in head
        old = ssl.create_default_context(cafile=str(authority.certificate))
        old.set_ciphers("AES256-SHA:@SECLEVEL=0")
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            old.wrap_socket(connected(port), server_hostname="127.0.0.1")
        assert asked(port, b"GET /login HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n") == 0


def shown(port: int, ca: Path) -> str:
    """The name in the certificate that a browser gets."""
    context = ssl.create_default_context(cafile=str(ca))
    with context.wrap_socket(connected(port), server_hostname="127.0.0.1") as client:
        found = client.getpeercert()
        assert found is not None
        return dict(one for part in found["subject"] for one in part)["commonName"]


def test_a_certificate_that_was_replaced_is_shown_without_a_restart(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    first, second = authority.issue("first"), authority.issue("second")
    own = tmp_path / "web.crt", tmp_path / "web.key"

    def install(certificate: bytes, key: bytes) -> None:
        for path, content in zip(own, (certificate, key), strict=True):
            path.with_suffix(".new").write_bytes(content)
            path.with_suffix(".new").replace(path)

    install(first.certificate.read_bytes(), first.key.read_bytes())
    place = make_place(tmp_path, tls={"certificate": str(own[0]), "key": str(own[1])})
    configured = settings(place)
    assert place.config.web.tls is not None
    assert configured.ssl is not None
    renewed = Renewed(place.config.web.tls, configured.ssl)
    with served(place, configured) as port:
        assert shown(port, authority.certificate) == "first"
        install(second.certificate.read_bytes(), b"no key")
        renewed.look()
        assert shown(port, authority.certificate) == "first", "what cannot be used is not used"
        install(second.certificate.read_bytes(), second.key.read_bytes())
        renewed.look()
        assert shown(port, authority.certificate) == "second"
        key, lone = tmp_path / "ec.key", tmp_path / "ec.crt"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                "-out", lone, "-subj", "/CN=third", "-addext", "subjectAltName=IP:127.0.0.1")  # fmt: skip
        install(lone.read_bytes(), key.read_bytes())
        renewed.look()
        assert shown(port, lone) == "third"
        install(first.certificate.read_bytes(), first.key.read_bytes())
        renewed.look()
        assert shown(port, authority.certificate) == "first", "nothing of another kind of key stays behind"
