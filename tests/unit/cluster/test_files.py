"""A worker reads every file of a series, wherever it was received."""

import errno
import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rtseg_daemon.cluster.exchange import Exchange
from rtseg_daemon.cluster.files import AT_ONCE, HostFiles
from rtseg_daemon.cluster.shelf import Shelf
from rtseg_daemon.errors import ExchangeError, HostAway, HostGone, StorageError, StorageFull
from rtseg_daemon.storage import Layout, damage
from rtseg_daemon.stored import Stored
from tests.certificates import Authority
from tests.hosts import Room, answering, tls_of


def stored(folder: Path, host: str, number: int, room: Room | None = None) -> Stored:
    """A file of 1000 bytes in a host's storage, known to its ledger."""
    content = bytes([number]) * 1000
    one = Stored(f"image/{number}", f"series/{number}.dcm", hashlib.sha256(content).hexdigest(), len(content), host)
    path = folder / one.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if room is not None:
        room.files[number] = path
    return one


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca") / "hosts")


@pytest.fixture
def other(authority: Authority, tmp_path: Path) -> Iterator[tuple[Room, str]]:
    (tmp_path / "other").mkdir()
    room = Room(tmp_path / "other")
    with answering(room, tls_of(authority, "other")) as address:
        yield room, address


@pytest.fixture
def files(authority: Authority, other: tuple[Room, str], tmp_path: Path) -> HostFiles:
    exchange = Exchange(tls_of(authority, "own"))
    shelf = Shelf(tmp_path / "own" / "shelf", 10_000)
    return HostFiles(Layout(tmp_path / "own"), "own", shelf, exchange, {"other": other[1]}.__getitem__)


def test_a_series_that_arrived_in_parts_at_two_hosts_is_read_as_one(
    files: HostFiles, other: tuple[Room, str], tmp_path: Path
) -> None:
    parts = [stored(tmp_path / "own", "own", n) for n in (1, 2)]
    parts += [stored(tmp_path / "other", "other", n, other[0]) for n in (3, 4, 5)]
    paths = files.at_hand(parts)
    assert [path.read_bytes()[0] for path in paths] == [1, 2, 3, 4, 5]
    assert all(path.is_relative_to(files.layout.series) for path in paths[:2])
    other[0].files.clear()
    assert files.at_hand(parts) == paths, "what was fetched once is not asked for again"


def test_what_was_fetched_before_goes_when_the_shelf_is_full(
    files: HostFiles, other: tuple[Room, str], tmp_path: Path
) -> None:
    first = [stored(tmp_path / "other", "other", n, other[0]) for n in range(8)]
    then = [stored(tmp_path / "other", "other", n, other[0]) for n in range(10, 18)]
    files.at_hand(first)
    assert all(path.is_file() for path in files.at_hand(then))
    assert len(list(files.shelf.folder.iterdir())) == 10
    with pytest.raises(StorageError, match="raise cluster"):
        files.at_hand(first + then)


def test_a_file_that_its_host_has_lost_is_one_that_is_not_there(
    files: HostFiles, other: tuple[Room, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = files.at_hand([lost := stored(tmp_path / "other", "other", 1)])
    assert damage(path, lost.sha256) == "is missing"
    told = capsys.readouterr()
    assert f"host {other[1]}: this host has no file of image 1" in told.out + told.err


def test_a_host_that_is_away_is_not_a_lost_file(files: HostFiles, tmp_path: Path) -> None:
    away = replace(files, address_of=lambda _host: "127.0.0.1:9")
    with pytest.raises(HostAway):
        away.at_hand([stored(tmp_path / "other", "other", 1)])


def test_a_disk_that_is_full_here_says_so_and_is_no_lost_file(
    files: HostFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_address: str, _wanted: Stored, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files.exchange, "fetch", full)
    one = stored(tmp_path / "other", "other", 1)
    for ask in (lambda: files.at_hand([one]), lambda: files.intact(one)):
        with pytest.raises(StorageFull, match=r"cannot be written here now \(No space left on device\); make room"):
            ask()


def test_a_host_that_is_out_of_the_ledger_has_no_files_any_more(files: HostFiles, tmp_path: Path) -> None:
    def nobody(host: str) -> str:
        raise HostGone(f"host {host} is out of the ledger")

    gone = replace(files, address_of=nobody)
    one = stored(tmp_path / "other", "other", 1)
    assert not gone.at_hand([one])[0].exists()
    assert not gone.intact(one)
    for ask in (lambda: gone.beside("other", 1), lambda: gone.bring("other", 1, 1, [tmp_path])):
        with pytest.raises(HostGone):
            ask()


def test_a_file_is_looked_at_anew_where_it_lies(files: HostFiles, other: tuple[Room, str], tmp_path: Path) -> None:
    here, there = stored(tmp_path / "own", "own", 1), stored(tmp_path / "other", "other", 2, other[0])
    assert files.intact(here)
    assert files.intact(there)
    (tmp_path / "own" / here.path).write_bytes(b"altered")
    (tmp_path / "other" / there.path).write_bytes(b"altered")
    assert not files.intact(here)
    assert not files.intact(there), "what lies on the shelf says nothing of it"


def test_a_host_that_did_not_answer_is_not_waited_for_again_at_once(
    files: HostFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def silence(address: str, _wanted: Stored, _path: Path) -> None:
        asked.append(address)
        time.sleep(0.05)
        raise HostAway(f"host {address} does not answer")

    monkeypatch.setattr(files.exchange, "fetch", silence)
    lost = [stored(tmp_path / "other", "other", number) for number in range(1, 10)]
    with pytest.raises(HostAway, match="does not answer"):
        files.at_hand(lost)
    assert len(asked) == AT_ONCE, "and not once for each file"
    before = len(asked)
    with pytest.raises(HostAway, match="did not answer a moment ago"):
        files.at_hand(lost[:1])
    assert len(asked) == before
    files.away["other"] = 0.0
    with pytest.raises(HostAway, match="does not answer"):
        files.at_hand(lost[:1])


def test_what_lies_beside_a_result_comes_by_name_and_nothing_else_does(
    files: HostFiles, other: tuple[Room, str], tmp_path: Path
) -> None:
    room = other[0]
    kept = room.folder / "entropy-tiny.npz"
    kept.write_bytes(b"a map")
    (room.folder / "secret").write_bytes(b"no map")
    room.beside_result[3] = [kept]
    (found,) = files.beside("other", 3).items()
    assert (found[0], found[1].read_bytes()) == ("entropy-tiny.npz", b"a map")
    assert files.beside("other", 4) == {}
    with pytest.raises(ExchangeError, match="no such file beside the result"):
        files.exchange.fetch(other[1], Stored("beside/3/secret", "", "0" * 64, 6), tmp_path / "got")
    own = files.layout.result(5)
    own.mkdir(parents=True)
    for name in ("entropy.npz", "picture.png", "RTSTRUCT.dcm", ".entropy.npz.4711.part"):
        (own / name).write_bytes(b"x")
    assert sorted(files.beside("own", 5)) == ["entropy.npz", "picture.png"]
