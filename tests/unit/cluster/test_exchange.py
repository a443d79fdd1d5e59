"""Files from host to host: whole and unaltered or not at all, and for hosts of the department alone."""

import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from rtseg_daemon.cluster.exchange import SHA256, Exchange
from rtseg_daemon.errors import ExchangeError, HostAway, LeaseLost, StorageFull
from rtseg_daemon.stored import Stored
from tests.certificates import Authority
from tests.hosts import Room, answering, tls_of

CONTENT = bytes(range(256)) * 8192
DIGEST = hashlib.sha256(CONTENT).hexdigest()
IMAGE = Stored("image/12", "series/image.dcm", DIGEST, len(CONTENT), "receiving")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca") / "hosts")


@pytest.fixture(scope="module")
def place(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Room, str]]:
    room = Room(tmp_path_factory.mktemp("room"), tokens={7: 3})
    path = room.folder / "image.dcm"
    path.write_bytes(CONTENT)
    room.files[12] = path
    with answering(room, tls_of(authority, "receiving")) as address:
        yield room, address


@pytest.fixture(scope="module")
def exchange(authority: Authority) -> Exchange:
    return Exchange(tls_of(authority, "working"))


def test_a_file_arrives_as_it_is(place: tuple[Room, str], exchange: Exchange, tmp_path: Path) -> None:
    exchange.fetch(place[1], IMAGE, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == CONTENT


def test_a_file_that_is_not_there_is_named(place: tuple[Room, str], exchange: Exchange, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="this host has no file of image 13"):
        exchange.fetch(place[1], replace(IMAGE, key="image/13"), tmp_path / "got")


@pytest.mark.parametrize("key", ["../../etc/passwd", "image/..%2f..%2fetc%2fpasswd", "image/-1", "passwd/12"])
def test_nothing_but_a_row_of_the_ledger_is_looked_up(
    key: str, place: tuple[Room, str], exchange: Exchange, tmp_path: Path
) -> None:
    with pytest.raises(ExchangeError):
        exchange.fetch(place[1], replace(IMAGE, key=key), tmp_path / "got")


@pytest.mark.parametrize("bent", [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"x"])
def test_a_file_damaged_on_the_other_disk_is_refused(
    bent: bytes, place: tuple[Room, str], exchange: Exchange, tmp_path: Path
) -> None:
    room, address = place
    room.files[14] = room.folder / "bent"
    room.files[14].write_bytes(bent)
    with pytest.raises(ExchangeError, match="sent another file than image/14 was"):
        exchange.fetch(address, replace(IMAGE, key="image/14"), tmp_path / "got")


def test_a_result_is_kept_under_its_token(place: tuple[Room, str], exchange: Exchange, tmp_path: Path) -> None:
    room, address = place
    (tmp_path / "RTSTRUCT.dcm").write_bytes(CONTENT)
    exchange.bring(address, 7, 3, tmp_path / "RTSTRUCT.dcm")
    assert (room.folder / "7-RTSTRUCT.dcm").read_bytes() == CONTENT


def test_a_worker_that_was_thought_dead_leaves_nothing(
    place: tuple[Room, str], exchange: Exchange, tmp_path: Path
) -> None:
    room, address = place
    (tmp_path / "late.dcm").write_bytes(b"late")
    with pytest.raises(LeaseLost, match="job 7 was given to another worker"):
        exchange.bring(address, 7, 2, tmp_path / "late.dcm")
    assert not list(room.folder.glob("*late*"))
    assert not list(room.folder.glob("*.part"))


def test_a_full_disk_at_the_other_end_is_told(place: tuple[Room, str], exchange: Exchange, tmp_path: Path) -> None:
    room, address = place
    (tmp_path / "RTSTRUCT.dcm").write_bytes(CONTENT)
    room.full = True
    try:
        with pytest.raises(StorageFull, match="is full"):
            exchange.bring(address, 7, 3, tmp_path / "RTSTRUCT.dcm")
    finally:
        room.full = False


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        ("RTSTRUCT.dcm", {SHA256: "0" * 64}, 422),
        ("RTSTRUCT.dcm", {}, 400),
        (".hidden", {SHA256: DIGEST}, 400),
        ("..", {SHA256: DIGEST}, 405),
    ],
)
def test_what_is_not_what_it_says_is_refused(
    name: str, headers: dict[str, str], status: int, place: tuple[Room, str], exchange: Exchange
) -> None:
    target = httpx.URL(f"https://{place[1]}").copy_with(raw_path=f"/results/7/3/{name}".encode())
    assert exchange.client().put(target, headers=headers, content=CONTENT).status_code == status
    assert not list(place[0].folder.glob("*.part"))


def test_a_stranger_is_not_answered(place: tuple[Room, str], authority: Authority, tmp_path: Path) -> None:
    theirs = tls_of(Authority(tmp_path / "strangers"), "stranger")
    trusting = theirs.model_copy(update={"ca": authority.certificate})
    with pytest.raises(ExchangeError, match=r"does not answer .*do its certificate and cluster.tls.ca fit"):
        Exchange(trusting).fetch(place[1], IMAGE, tmp_path / "got")


def test_a_client_without_a_certificate_is_not_answered(place: tuple[Room, str], authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with httpx.Client(verify=context, trust_env=False) as client, pytest.raises(httpx.HTTPError):
        client.get(f"https://{place[1]}/files/image/12")


def test_a_renewed_certificate_is_shown_without_a_restart(
    place: tuple[Room, str], authority: Authority, tmp_path: Path
) -> None:
    tls = tls_of(Authority(tmp_path / "old"), "old").model_copy(update={"ca": authority.certificate})
    exchange = Exchange(tls)
    with pytest.raises(ExchangeError):
        exchange.fetch(place[1], IMAGE, tmp_path / "got")
    renewed = tls_of(authority, "renewed")
    tls.key.write_bytes(renewed.key.read_bytes())
    tls.certificate.write_bytes(renewed.certificate.read_bytes())
    exchange.fetch(place[1], IMAGE, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == CONTENT


def test_a_host_whose_certificate_does_not_fit_is_not_trusted(
    authority: Authority, exchange: Exchange, tmp_path: Path
) -> None:
    with (
        answering(Room(tmp_path), tls_of(authority, "elsewhere", san="DNS:other.example")) as address,
        pytest.raises(ExchangeError, match="certificate verify failed"),
    ):
        exchange.fetch(address, IMAGE, tmp_path / "got")


LAST_YEAR = ("20250101000000Z", "20250201000000Z")


def test_a_host_whose_certificate_has_expired_is_not_trusted(
    authority: Authority, exchange: Exchange, tmp_path: Path
) -> None:
    with (
        answering(Room(tmp_path), tls_of(authority, "forgotten", days=LAST_YEAR)) as address,
        pytest.raises(ExchangeError, match="certificate has expired"),
    ):
        exchange.fetch(address, IMAGE, tmp_path / "got")


def test_a_host_of_another_authority_is_not_trusted(exchange: Exchange, tmp_path: Path) -> None:
    with (
        answering(Room(tmp_path), tls_of(Authority(tmp_path / "elsewhere"), "elsewhere")) as address,
        pytest.raises(ExchangeError, match="certificate verify failed"),
    ):
        exchange.fetch(address, IMAGE, tmp_path / "got")


def test_a_caller_whose_certificate_has_expired_is_not_answered(
    place: tuple[Room, str], authority: Authority, tmp_path: Path
) -> None:
    late = tls_of(authority, "late", days=LAST_YEAR)
    with pytest.raises(ExchangeError, match=r"does not answer .*do its certificate and cluster.tls.ca fit"):
        Exchange(late).fetch(place[1], IMAGE, tmp_path / "got")


def test_a_host_that_is_down_is_named(exchange: Exchange, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match=r"host 127\.0\.0\.1:9 does not answer"):
        exchange.fetch("127.0.0.1:9", IMAGE, tmp_path / "got")


def test_no_proxy_of_the_environment_is_asked(
    place: tuple[Room, str], authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:9")
    Exchange(tls_of(authority, "direct")).fetch(place[1], IMAGE, tmp_path / "got")
    assert (tmp_path / "got").exists()


def test_a_host_whose_ledger_does_not_answer_has_not_lost_its_files(
    place: tuple[Room, str], exchange: Exchange, tmp_path: Path
) -> None:
    room, address = place
    (tmp_path / "RTSTRUCT.dcm").write_bytes(CONTENT)
    room.no_ledger = True
    try:
        with pytest.raises(HostAway, match="its ledger cannot be asked now"):
            exchange.fetch(address, IMAGE, tmp_path / "got")
        with pytest.raises(HostAway, match="its ledger cannot be asked now"):
            exchange.bring(address, 7, 3, tmp_path / "RTSTRUCT.dcm")
    finally:
        room.no_ledger = False
    assert not list(room.folder.glob("*.part"))
    exchange.fetch(address, IMAGE, tmp_path / "got")
