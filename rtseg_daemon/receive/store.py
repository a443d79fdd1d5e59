"""Objects as durable files: written under a temporary name, fsynced, renamed. No name is built from a received UID.

Under the storage directory:
    incoming/   what is being received, emptied when the receiver starts
    series/<day it came, UTC>/<SHA-256 of the file>.dcm
    quarantine/ the same, for second copies that contradict the first
    returned/   the same, for structure sets that came back
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import mmap
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtseg_daemon.storage import Layout, damage, sync_folder

NUMBERS = itertools.count()
PART = ".part"
PIECE_BYTES = 2**20
"""Gathered before it is written: a CT image is smaller, and threads meet at Python's lock less often."""
BLOCK_BYTES = 4096
"""What is written past the page cache comes in whole blocks of memory and of file (open(2), O_DIRECT)."""
FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def create(path: Path) -> tuple[int, bool]:
    """A new file, and whether it is written past the page cache. Raises OSError.

    Nobody reads an object before its series is complete, and copying it into the cache costs three times the writing
    itself. File systems without that way (tmpfs, some network mounts) refuse it and get the ordinary one.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_DIRECT, 0o600), True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    path.unlink(missing_ok=True)  # the refusal may come after the creation
    return os.open(path, flags, 0o600), False


class Buffers(threading.local):
    """One piece of memory per thread, used again for every object: fresh memory would cost more than the copy."""

    def __init__(self) -> None:
        self.piece = memoryview(mmap.mmap(-1, PIECE_BYTES))  # begins at a page's beginning, as O_DIRECT asks for


BUFFERS = Buffers()


class Spool:
    """One object on its way to the disk. `finish` makes its content durable. Its name comes later.

    A thread writes one object at a time: what is not yet handed to the system lies in the thread's own buffer.
    """

    def __init__(self, folder: Path, head: bytes) -> None:
        self.path = folder / f"{os.getpid()}-{next(NUMBERS)}{PART}"
        self._fd, self._direct = create(self.path)
        self._inode = os.fstat(self._fd).st_ino
        self.kept = False
        self.head_size = len(head)
        self._digest = hashlib.sha256()
        self._piece = BUFFERS.piece
        self._filled = 0
        self._written = 0
        self.write(head)

    @property
    def size(self) -> int:
        return self._written + self._filled

    def write(self, chunk: bytes | memoryview) -> None:
        """Append. Raises OSError (ENOSPC and its kin where the disk is full)."""
        left = memoryview(chunk)
        while left:
            count = min(len(left), len(self._piece) - self._filled)
            self._piece[self._filled : self._filled + count] = left[:count]
            self._filled += count
            left = left[count:]
            if self._filled == len(self._piece):
                self.flush()

    def flush(self) -> None:
        """Hand to the system what is still in memory, at the object's end. Raises OSError."""
        filled, self._filled = self._filled, 0
        self._digest.update(self._piece[:filled])
        rest = -filled % BLOCK_BYTES
        self._piece[filled : filled + rest] = bytes(rest)
        self._hand_over(filled, filled + rest)

    def _hand_over(self, filled: int, padded: int) -> None:
        """Write the first `filled` bytes of the piece: past the cache whole blocks, of which the file is then cut."""
        done = 0
        while done < filled:
            try:
                done += os.write(self._fd, self._piece[done : padded if self._direct else filled])
            except OSError as error:
                if not self._direct or error.errno != errno.EINVAL:
                    raise
                self._use_cache()
        self._written += filled
        if done > filled:
            os.ftruncate(self._fd, self._written)

    def _use_cache(self) -> None:
        """The file system takes no such blocks after all."""
        fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~os.O_DIRECT)
        self._direct = False

    @property
    def is_placed(self) -> bool:
        """Whether it has its lasting name."""
        return self.path.suffix != PART

    @property
    def sha256(self) -> str:
        """Of everything flushed."""
        return self._digest.hexdigest()

    @contextmanager
    def data_set(self) -> Iterator[memoryview]:
        """The data set once flushed: from memory where it is small enough to be there still, else the file mapped."""
        if self._written <= len(self._piece):
            yield self._piece[self.head_size : self._written]
            return
        whole = mmap.mmap(self._fd, self._written, prot=mmap.PROT_READ)
        with whole, memoryview(whole) as view, view[self.head_size :] as data:
            yield data

    def finish(self) -> None:
        """Make the content durable. Raises OSError."""
        os.fsync(self._fd)
        os.close(self._fd)
        self._fd = -1

    def discard(self) -> None:
        """Remove the file, by whatever name it has, unless it was kept.

        A name stands for content: after a transaction that failed, another sender's file may have this one's.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with contextlib.suppress(FileNotFoundError):
            if not self.kept and self.path.stat().st_ino == self._inode:
                self.path.unlink()


class ObjectStore:
    """Where received objects lie. `begin` may be called by any thread, the rest by the one thread that commits."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._dirty: set[Path] = set()
        layout.create()

    def clear_incoming(self) -> int:
        """Remove what a dead receiver left half written. Returns how many files."""
        left = list(self.layout.incoming.iterdir())
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def begin(self, head: bytes) -> Spool:
        """A new temporary file. Raises OSError."""
        return Spool(self.layout.incoming, head)

    def place(self, spool: Spool, *, quarantine: bool) -> str:
        """`place_in` the folder of images, or of those that contradict another one."""
        return self.place_in(self.layout.quarantine if quarantine else self.layout.series, spool)

    def place_in(self, parent: Path, spool: Spool) -> str:
        """Rename a finished spool to its lasting name, relative to the storage, durable after the next `sync`.

        One folder a day, for all series: one fsync then makes the names of a whole group durable. May be repeated for
        the same spool, as when a transaction is tried again.
        """
        folder = parent / time.strftime("%Y-%m-%d", time.gmtime())
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            self._dirty.add(parent)
        path = folder / f"{spool.sha256}.dcm"
        spool.path = spool.path.rename(path)
        self._dirty.add(folder)
        return self.layout.relative(path)

    def intact(self, path: str, sha256: str) -> bool:
        """Whether a kept object's file is there, as it was written."""
        return not damage(self.layout.directory / path, sha256)

    def sync(self) -> None:
        """Make every rename since the last call durable. Raises OSError.

        A folder that is gone held nothing: retention removes empty ones.
        """
        for folder in sorted(self._dirty):
            with contextlib.suppress(FileNotFoundError):
                sync_folder(folder)
        self._dirty.clear()
