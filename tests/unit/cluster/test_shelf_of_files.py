"""Files of other hosts on a shelf: bounded, the least used go first, and none that is needed now."""

import os
from pathlib import Path

import pytest

from rtseg_daemon.cluster.shelf import Shelf
from rtseg_daemon.errors import StorageError


def put(shelf: Shelf, digest: str, seconds_ago: float = 0.0) -> None:
    with shelf.receiving(digest) as part:
        part.write_bytes(b"x" * 100)
    path = shelf.place(digest)
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds_ago))


def names(shelf: Shelf) -> set[str]:
    return {path.name for path in shelf.folder.iterdir()}


def test_the_least_used_files_make_room(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", 300)
    for seconds_ago, digest in ((100, "a"), (99, "b"), (98, "c")):
        put(shelf, digest, seconds_ago)
    assert shelf.find("a") is not None, "which makes b the least used"
    shelf.make_room(100, ())
    assert names(shelf) == {"a", "c"}
    assert shelf.find("b") is None


def test_what_is_needed_stays_and_what_does_not_fit_beside_it_is_told(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", 300)
    for digest in ("a", "b", "c"):
        put(shelf, digest)
    with pytest.raises(StorageError, match=r"raise cluster\.cache_gb"):
        shelf.make_room(100, {"a", "b", "c"})
    assert names(shelf) == {"a", "b", "c"}
    shelf.make_room(100, {"a", "b"})
    assert names(shelf) == {"a", "b"}


def test_half_a_file_is_none(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", 300)

    def broken_off() -> None:
        with shelf.receiving("a") as part:
            part.write_bytes(b"x")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        broken_off()
    assert names(shelf) == set()
    (shelf.folder / "b-1234.part").write_bytes(b"left by a process that was killed")
    assert names(Shelf(shelf.folder, 300)) == set()
