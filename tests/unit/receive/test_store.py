import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from rtseg_daemon.dicom.part10 import file_head
from rtseg_daemon.receive.store import PIECE_BYTES, ObjectStore
from rtseg_daemon.storage import Layout
from tests.faults.conftest import series
from tests.receiver import encoded


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(Layout(tmp_path))


def test_a_stored_object_is_a_dicom_file_with_the_bytes_received(store: ObjectStore) -> None:
    image = series("store")[0]
    raw = encoded(image)
    spool = store.begin(file_head(CTImageStorage, str(image.SOPInstanceUID), ExplicitVRLittleEndian))
    spool.write(raw)
    spool.flush()
    with spool.data_set() as data:
        assert bytes(data) == raw
    spool.finish()
    path = store.layout.directory / store.place(spool, quarantine=False)
    store.sync()
    read = pydicom.dcmread(path)
    assert read.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
    assert read.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert read.PixelData == image.PixelData
    assert path.stem == spool.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 400, PIECE_BYTES, 3 * PIECE_BYTES + 5])
@pytest.mark.parametrize("chunk", [1000, PIECE_BYTES, 2 * PIECE_BYTES])
def test_an_object_of_any_size_in_pieces_of_any_size_is_whole(store: ObjectStore, size: int, chunk: int) -> None:
    raw = bytes(k * 7 % 251 for k in range(4096)) * (size // 4096 + 1)
    raw = raw[:size]
    spool = store.begin(b"HEAD")
    for start in range(0, size, chunk):
        spool.write(memoryview(raw)[start : start + chunk])
    spool.flush()
    assert spool.size == size + 4
    with spool.data_set() as data:
        assert bytes(data) == raw
    spool.finish()
    assert spool.path.read_bytes() == b"HEAD" + raw
    assert spool.sha256 == hashlib.sha256(b"HEAD" + raw).hexdigest()


def test_the_same_object_has_the_same_file_whoever_sent_it(store: ObjectStore) -> None:
    assert file_head(CTImageStorage, "1.2.3", ExplicitVRLittleEndian) == file_head(
        CTImageStorage, "1.2.3", "1.2.840.10008.1.2.1"
    )


def test_a_discarded_object_leaves_nothing_and_a_kept_one_stays(store: ObjectStore) -> None:
    first, second = store.begin(b"one"), store.begin(b"two")
    for spool in (first, second):
        spool.flush()
        spool.finish()
    path = store.layout.directory / store.place(second, quarantine=True)
    second.kept = True
    first.discard()
    second.discard()
    assert not list(store.layout.incoming.iterdir())
    assert path.read_bytes() == b"two"
    assert path.parent.parent == store.layout.quarantine


def test_placing_twice_is_placing_once(store: ObjectStore) -> None:
    spool = store.begin(b"again")
    spool.flush()
    spool.finish()
    assert store.place(spool, quarantine=False) == store.place(spool, quarantine=False)


def test_what_a_dead_receiver_left_is_cleared(store: ObjectStore) -> None:
    (store.layout.incoming / "123-0.part").write_bytes(b"half")
    assert store.clear_incoming() == 1
    assert not list(store.layout.incoming.iterdir())


def test_what_fills_the_last_block_is_cut_off_and_holds_nothing_of_the_object_before(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The buffer is used again: whatever reaches the disk past the object's end must be zeros."""
    handed: list[bytes] = []
    monkeypatch.setattr(os, "write", recording(os.write, handed))
    for content in (b"a patient's name " * 1000, b"short"):
        spool = store.begin(b"")
        spool.write(content)
        spool.flush()
        spool.finish()
        assert spool.path.read_bytes() == content
    assert handed[-1].rstrip(b"\0") == b"short"


def recording(write: Callable[[int, memoryview], int], handed: list[bytes]) -> Callable[[int, memoryview], int]:
    def called(fd: int, data: memoryview) -> int:
        handed.append(bytes(data))
        return write(fd, data)

    return called


@pytest.mark.parametrize("refuses", ["open", "write"])
def test_a_file_system_that_cannot_pass_its_cache_by_is_written_through_it(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    monkeypatch.setattr(os, refuses, without_direct(getattr(os, refuses)))
    content = bytes(range(256)) * 6000
    spool = store.begin(b"HEAD")
    spool.write(content)
    spool.flush()
    spool.finish()
    assert spool.path.read_bytes() == b"HEAD" + content
    assert spool.sha256 == hashlib.sha256(b"HEAD" + content).hexdigest()


def without_direct(call: Callable[..., int]) -> Callable[..., int]:
    """As file systems refuse it: `open` after it has created the file, `write` at the first block."""

    def refused(target: int | Path, argument: Any, *rest: Any) -> int:
        opening = isinstance(target, Path)
        flags = argument if opening else fcntl.fcntl(target, fcntl.F_GETFL)
        if flags & os.O_DIRECT:
            if opening:
                target.touch()
            raise OSError(errno.EINVAL, "Invalid argument")
        return call(target, argument, *rest)

    return refused
