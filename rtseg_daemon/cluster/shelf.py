"""Files of other hosts kept here for a while, by their SHA-256: a bounded folder whose least used files go first."""

import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rtseg_daemon.errors import StorageError

PART = ".part"
"""End of the name of a file that is not whole yet."""


@dataclass(frozen=True)
class Kept:
    """A file on the shelf. `used_at`: nanoseconds since 1970."""

    digest: str
    size: int
    used_at: int


@dataclass(frozen=True)
class Shelf:
    """A folder with a folder for each file, both named by its SHA-256: what a stage makes of it may lie beside it.

    Args:
        folder: one process's own. Another process has another folder.
        limit_bytes: what all files together may have.
    """

    folder: Path
    limit_bytes: int

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.folder.glob(f"*{PART}"):
            left.unlink(missing_ok=True)

    def place(self, digest: str) -> Path:
        """Where the file of this digest lies or would lie."""
        return self.folder / digest / digest

    def find(self, digest: str) -> Path | None:
        """The file of this digest, or None. It counts as used now, which its folder's time tells and not its own."""
        path = self.place(digest)
        try:
            path.stat()
            os.utime(path.parent)
        except FileNotFoundError:
            return None
        return path

    @contextmanager
    def receiving(self, digest: str) -> Iterator[Path]:
        """A path to write a file to. It is on the shelf when the block ends without an error."""
        part = self.folder / f"{digest}-{secrets.token_hex(4)}{PART}"
        try:
            yield part
            self.place(digest).parent.mkdir(mode=0o700, exist_ok=True)
            part.rename(self.place(digest))
        finally:
            part.unlink(missing_ok=True)

    def make_room(self, size: int, needed: Collection[str]) -> None:
        """Remove files, the least used first, until `size` bytes more fit. None of those `needed` goes.

        Raises StorageError where they would not fit beside these.
        """
        there = sorted(self._files(), key=lambda one: one.used_at)
        total = sum(one.size for one in there) + size
        for one in there:
            if total <= self.limit_bytes:
                return
            if one.digest not in needed:
                shutil.rmtree(self.folder / one.digest, ignore_errors=True)
                total -= one.size
        if total > self.limit_bytes:
            raise StorageError(
                f"files of other hosts need {total / 1e9:.1f} GB at once, and {self.limit_bytes / 1e9:.1f} GB are "
                "theirs; raise cluster.cache_gb"
            )

    def _files(self) -> Iterator[Kept]:
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError, NotADirectoryError):  # a file that is not whole yet
                yield Kept(path.name, (path / path.name).stat().st_size, path.stat().st_mtime_ns)
