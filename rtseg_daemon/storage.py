"""The storage directory: what lies where, how a file becomes durable, and the lock that only one daemon holds."""

import fcntl
import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtseg_daemon.config.file import Config
from rtseg_daemon.errors import StorageError

SHARED_LOCK = "hosts/lock"
"""Held by every daemon that shares the directory."""
FOLDERS = ("series", "results", "returned", "backup", "quarantine", "engine-cache")


@dataclass(frozen=True)
class Layout:
    """Folders under `storage.directory`. All are 0700 and hold nothing named after a patient.

    Args:
        host: who writes to it, of several hosts. Empty where one works alone.
        shared: whether all hosts have this one directory. What one alone writes to is then in a folder of its own.
    """

    directory: Path
    host: str = ""
    shared: bool = False

    @property
    def own(self) -> Path:
        """What no other host writes to."""
        return self.directory / "hosts" / self.host if self.shared else self.directory

    @property
    def incoming(self) -> Path:
        return self.own / "incoming"

    @property
    def series(self) -> Path:
        return self.directory / "series"

    @property
    def results(self) -> Path:
        return self.directory / "results"

    @property
    def returned(self) -> Path:
        """Structure sets that came back."""
        return self.directory / "returned"

    @property
    def backup(self) -> Path:
        return self.directory / "backup"

    @property
    def quarantine(self) -> Path:
        return self.directory / "quarantine"

    @property
    def engine_cache(self) -> Path:
        return self.directory / "engine-cache"

    @property
    def viewer(self) -> Path:
        """Where the dashboard unpacks a CT. Its files have no name once they are open."""
        return self.own / "viewer"

    @property
    def lock(self) -> Path:
        return self.own / "lock"

    @property
    def shelves(self) -> Path:
        """Files of other hosts, a folder for each process."""
        return self.directory / "shelves"

    @property
    def identity(self) -> Path:
        """Tells this storage from every other."""
        return self.directory / "storage-id"

    @property
    def metrics(self) -> Path:
        """Numbers for a monitoring system."""
        return self.own / "metrics.prom"

    @property
    def restored(self) -> Path:
        """There while a restored ledger has not been compared with the storage."""
        return self.directory / "restored.json"

    def result(self, job_id: int) -> Path:
        """Folder of one job's result."""
        return self.results / str(job_id)

    def create(self) -> None:
        """Make the folders. Raises StorageError where that is not possible."""
        try:
            for folder in (self.directory, *(self.directory / name for name in FOLDERS), self.own, self.incoming):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"storage.directory {self.directory} cannot be used: {error.strerror}; make it, or give it to this user"
            ) from error

    def relative(self, path: Path) -> str:
        """`path` as the ledger stores it."""
        return path.relative_to(self.directory).as_posix()

    def shown(self, path: str, host: str) -> str:
        """Where a file of the ledger lies, for people and programs. Of another host: its name and the path there."""
        return str(self.directory / path) if self.shared or host in ("", self.host) else f"{host}:{path}"

    def free_gb(self) -> float:
        """Free space in GB (10^9 bytes)."""
        return self.free_bytes() / 1e9

    def free_bytes(self) -> int:
        """Free space in bytes."""
        return shutil.disk_usage(self.directory).free

    def read_only(self) -> bool:
        """Whether the file system takes no writes."""
        return bool(os.statvfs(self.directory).f_flag & os.ST_RDONLY)


def layout_of(config: Config) -> Layout:
    """The storage directory of this daemon."""
    return Layout(config.storage.directory, config.files_host, config.storage.shared)


def lock_storage(layout: Layout, wait_seconds: float = 10.0) -> int:
    """Take the storage lock and return its file descriptor, which children inherit.

    The lock is free only when the supervisor and every child of it are gone. Raises StorageError after `wait_seconds`,
    and at once where the lock's file cannot be written, or where another daemon thinks that it has the directory alone
    or with others, and this one does not.
    """
    if layout.shared:
        _share(layout)
    elif (layout.directory / "hosts").is_dir() and _taken(layout.directory / SHARED_LOCK, fcntl.LOCK_EX):
        raise StorageError(
            f"daemons of several hosts work on {layout.directory}; set storage.shared, or use another directory"
        )
    try:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            f"storage.directory {layout.directory} cannot be written: {error.strerror}; mend the disk or the rights"
        ) from error
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise StorageError(
                    f"another daemon works on {layout.directory} (its lock is held); stop it, or use another directory"
                ) from None
            time.sleep(0.1)
        else:
            return descriptor


def _share(layout: Layout) -> None:
    """Hold the directory together with others until this process ends. Raises StorageError where one has it alone."""
    if _taken(layout.directory / "lock"):
        raise StorageError(
            f"a daemon works on {layout.directory} that has it for itself; set storage.shared there too, and restart it"
        )
    descriptor = os.open(layout.directory / SHARED_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def _taken(lock: Path, mode: int = fcntl.LOCK_SH) -> bool:
    """Whether somebody holds this lock so that it cannot be had in this mode."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_locked(layout: Layout) -> bool:
    """Whether this host's daemon works on the storage now: rows that say so outlive one that was killed."""
    return _taken(layout.lock)


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """`content` under `path` whole or not at all, also after a power cut: temporary file, fsync, rename, fsync.

    `mode` is the file's, less the umask. Folders that are missing are made, for this user alone.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def damage(path: Path, sha256: str) -> str:
    """What has become of a file since its digest was entered in the ledger, empty where it is as it was."""
    try:
        with path.open("rb") as file:
            now = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if now == sha256 else "was altered (digest differs)"


def check_files(files: Sequence[tuple[Path, str]], remedy: str) -> None:
    """Raise StorageError with the `remedy` if one of these (file, SHA-256 in the ledger) is not what was stored."""
    found = [f"{path.name} {what}" for path, sha256 in files if (what := damage(path, sha256))]
    if found:
        raise StorageError(f"{len(found)} of {len(files)} stored files are damaged: {found[0]}; {remedy}")


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def identity_of(layout: Layout) -> str:
    """What tells this storage directory from every other: written once, at random."""
    try:
        return layout.identity.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        write_durably(layout.identity, secrets.token_hex(16).encode())
        return layout.identity.read_text(encoding="ascii").strip()
