"""The viewer's desk: readers, what they have read, and the three things that are shown of a job."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.errors import NotShown
from rtseg_daemon.storage import Layout
from rtseg_daemon.stored import Files, OwnFiles, digested
from rtseg_daemon.web.viewer.cuts import MOST, PLANES, Geometry, Plane, read_array, read_cuts
from rtseg_daemon.web.viewer.readers import Readers
from rtseg_daemon.web.viewer.shelf import Shelf, Thing
from rtseg_daemon.web.viewer.subject import NO_RESULT, Subject, digest_of_files, files_of, from_hosts, mark_of

LARGEST_CT_BYTES = 3 * 2**29
"""2,000 slices of 512 x 512 pixels and some more."""
SMALL_BYTES = 2**24
SWEEP_SECONDS = 30.0
GIGABYTE = 10**9

Ask = Callable[[dict[str, Any]], dict[str, Any]]
"""A request to a reader, and its answer."""


@dataclass(frozen=True)
class Cuts:
    """Slices of one plane: the number of the first, how many, and their values."""

    first: int
    count: int
    of: int
    rows: int
    columns: int
    tag: str
    body: bytes


class Desk:
    """What all viewers of this process share."""

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        minimum_free_gb: float,
        readers: Readers | None = None,
        files: Files | None = None,
    ) -> None:
        self.engine = engine
        self.files = files or OwnFiles(layout)
        self.layout = layout
        self.minimum_free_gb = minimum_free_gb
        self.readers = readers or Readers()
        self.shelf = Shelf(layout.viewer).open()
        self._end = threading.Event()
        self._preparing = threading.Lock()
        threading.Thread(target=self._keep_tidy, name="viewer", daemon=True).start()

    def close(self) -> None:
        """End the readers and drop all that they read."""
        self._end.set()
        self.readers.close()
        self.shelf.close()

    def geometry(self, subject: Subject) -> tuple[Geometry, str]:
        """Where the CT's voxels lie, and the digest of its images, read anew if a file has changed. Raises NotShown."""
        with self._ct(subject, mark=self._mark(subject)) as thing:
            return Geometry.said(thing.said), str(thing.said["tag"])

    def prepare(self, subject: Subject) -> None:
        """Begin to read the CT that a person is about to see, and come back at once. One at a time is begun so.

        What goes wrong is told to whoever asks for the CT.
        """
        if self._preparing.acquire(blocking=False):
            threading.Thread(target=self._prepare, args=(subject,), name="viewer-ahead", daemon=True).start()

    def _prepare(self, subject: Subject) -> None:
        try:
            with suppress(NotShown, OSError, SQLAlchemyError), self._ct(subject, mark=self._mark(subject)):
                pass
        finally:
            self._preparing.release()

    def cuts(self, subject: Subject, plane: Plane, number: int, count: int) -> Cuts:
        """`count` slices from `number` (from 1) on, fewer at the end. Raises NotShown where there is none."""
        with self._ct(subject) as thing:
            geometry = Geometry.said(thing.said)
            there = geometry.count(plane)
            if not 1 <= number <= there:
                raise NotShown(f"there is no {plane} slice {number}; they go from 1 to {there}", 404)
            count = min(count, MOST, there - number + 1)
            body = read_cuts(thing.descriptor, geometry, plane, number - 1, count).tobytes()
            rows, columns = geometry.picture(plane)
            tag = f"{thing.said['tag'][:32]}-{PLANES.index(plane)}-{number}-{count}"
            return Cuts(number, count, there, rows, columns, tag, body)

    def contours(self, subject: Subject, ask: Ask | None = None) -> bytes:
        """The contours of the job's structure set as compressed JSON. Raises NotShown where there is none."""
        if subject.rtstruct is None:
            raise NotShown(NO_RESULT, 404)
        with from_hosts():
            ((path, digest),) = digested(subject.files, [subject.rtstruct])
        maps = [{"name": name, "path": str(file)} for name, file in subject.maps]
        asked = {"do": "structures", "path": str(path), "sha256": digest, "entropy": maps}
        return self._small(subject.rtstruct_key, asked, ask)[0]

    def entropy(self, subject: Subject, index: int, ask: Ask | None = None) -> tuple[bytes, dict[str, Any]]:
        """A map of where the members disagree, as compressed bytes, and its geometry. Raises NotShown."""
        maps = subject.maps
        if not 0 <= index < len(maps):
            raise NotShown(f"this job has {len(maps)} maps of where its members disagree; there is no {index}", 404)
        asked = {"do": "entropy", "path": str(maps[index][1])}
        return self._small(subject.map_key(index), asked, ask)

    def _small(self, key: str, asked: dict[str, Any], ask: Ask | None) -> tuple[bytes, dict[str, Any]]:
        ask = ask or self.readers.ask

        def read(target: Path) -> dict[str, Any]:
            return ask({**asked, "target": str(target)})

        with self.shelf.using(key, SMALL_BYTES, read, mark_of([asked["path"]])) as thing:
            return read_array(thing.descriptor, 0, (thing.size,), "u1").tobytes(), thing.said

    def read_ahead(self, subject: Subject, ask: Ask) -> None:
        """Put all that is shown of a job on the shelf, by another reader than those for people. Raises NotShown."""
        with self._ct(subject, ask, self._mark(subject)):
            pass
        if subject.rtstruct is not None:
            self.contours(subject, ask)
        for index in range(len(subject.maps)):
            self.entropy(subject, index, ask)

    def keep(self, subjects: Iterable[Subject]) -> None:
        """What is shown of these is not dropped for being old."""
        self.shelf.keep(key for subject in subjects for key in subject.keys)

    @contextmanager
    def _ct(self, subject: Subject, ask: Ask | None = None, mark: str = "") -> Iterator[Thing]:
        ask = ask or self.readers.ask

        def read(target: Path) -> dict[str, Any]:
            files = files_of(self.engine, subject)
            answer = ask({"do": "volume", "files": files, "target": str(target), "limit": self.room()})
            return {**answer, "tag": digest_of_files(files)}

        with self.shelf.using(subject.ct_key, LARGEST_CT_BYTES, read, mark) as thing:
            yield thing

    def _mark(self, subject: Subject) -> str:
        return mark_of(path for path, _ in files_of(self.engine, subject))

    def room(self) -> int:
        """How many bytes a CT may take on the disk. Reception needs its share first. Raises NotShown for none."""
        spare = self.layout.free_bytes() - int(self.minimum_free_gb * GIGABYTE)
        if spare <= 0:
            raise NotShown("the disk of storage.directory is nearly full; what is left is kept for reception", 507)
        return min(LARGEST_CT_BYTES, spare)

    def _keep_tidy(self) -> None:
        while not self._end.wait(SWEEP_SECONDS):
            self.shelf.drop_old()
