"""Images of the storage that the ledger does not know enter it as if they came now, through reception's own code."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.errors import InvalidDicomError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.errors import Undecided
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.hosts import is_silent
from rtseg_daemon.ledger.jobs import hold_undelivered
from rtseg_daemon.ledger.reception import enter
from rtseg_daemon.ledger.recognition import Recognised, Repeat, recognise
from rtseg_daemon.ledger.schema import Instance
from rtseg_daemon.ledger.states import InstanceState
from rtseg_daemon.logs import log
from rtseg_daemon.receive.arrival import arrival_of
from rtseg_daemon.receive.comparison import Comparison
from rtseg_daemon.receive.examine import Examined, examine, is_ct
from rtseg_daemon.receive.sender import Sender
from rtseg_daemon.receive.stored import stored
from rtseg_daemon.storage import Layout, damage, sync_folder

BATCH = 50
SAME_MOMENT_SECONDS = 60.0
"""Between the clock of a file and that of its row."""
FOUND = "images of its series were found in the storage that the ledger did not know"


@dataclass(frozen=True)
class Found:
    """One image file that the ledger does not know."""

    path: Path
    sha256: str
    size: int
    written_at: float
    examined: Examined


@dataclass
class Entered:
    """What became of the files.

    Args:
        images: how many entered the ledger.
        series: numbers of the series that they opened, or held.
        contradictions: how many of them contradict an image that is kept.
        removed: (SOP Instance UID, path) of what retention was deleting when it was interrupted.
        left: files that are no images, are damaged, or are there twice.
    """

    images: int = 0
    series: set[int] = field(default_factory=set)
    contradictions: int = 0
    removed: list[tuple[str, str]] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)


def read_found(path: Path) -> Found | None:
    """What the file holds. None where it is not the CT image that was written under this name."""
    try:
        status = path.stat()
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with stored(path) as one:
            found = examine(one.data, one.transfer_syntax, one.sop_class, one.sop_instance)
        if sha256 != path.stem or isinstance(found, Status) or not is_ct(found.sop_class_uid):
            return None
        return Found(path, sha256, status.st_size, status.st_mtime, found)
    except (OSError, InvalidDicomError) as error:
        log().warning("a file of the storage cannot be read", reason=type(error).__name__)
        return None


class Entry:
    """Enters files, some in each transaction."""

    def __init__(self, engine: Engine, layout: Layout, comparison: Comparison) -> None:
        self.engine = engine
        self.layout = layout
        self.comparison = comparison
        self.result = Entered()

    def enter_all(self, files: Sequence[Found], sender_of: dict[str, Sender]) -> Entered:
        """Enter the files. `sender_of` has what stands for the sender of each SeriesInstanceUID."""
        doubtful: list[Found] = []
        for start in range(0, len(files), BATCH):
            with writing(self.engine) as session:
                for one in files[start : start + BATCH]:
                    if not self._enter(session, one, sender_of[one.examined.series_uid]):
                        doubtful.append(one)
        for one in doubtful:
            self._compare_and_enter(one, sender_of[one.examined.series_uid])
        with writing(self.engine) as session:
            for series_id in self.result.series:
                hold_undelivered(session, series_id, FOUND, releasable=True)
        return self.result

    def _enter(self, session: Session, one: Found, sender: Sender, same: bool | None = None) -> bool:
        """Enter one file. False where its pixels must be compared first. `same` says what came of that."""
        arrival = arrival_of(one.examined, one, sender, host=self.layout.host)
        seen = recognise(session, arrival)
        known, repeat = seen.known, seen.repeat
        if self._in_quarantine(one) and repeat not in (Repeat.IDENTITY_DIFFERS, Repeat.CONTENT_DIFFERS):
            repeat = Repeat.CONTENT_DIFFERS  # so the lost ledger had judged
        if repeat is Repeat.UNDECIDED:
            if same is None:
                return False
            repeat = Repeat.DUPLICATE if same else Repeat.CONTENT_DIFFERS
        if repeat is Repeat.DUPLICATE:
            self._mend(session, one, known)
            return True
        if known is not None and known.state is InstanceState.REMOVED and self._was_being_removed(one, known):
            self.result.removed.append((known.sop_instance_uid, self.layout.relative(one.path)))
            return True
        path = self._place(one, quarantine=repeat is not Repeat.NEW)
        recorded = enter(
            session,
            arrival_of(one.examined, one, sender, self.layout.relative(path), self.layout.host),
            Recognised(repeat, known),
        )
        self.result.images += 1
        self.result.series.add(recorded.series_id)
        self.result.contradictions += repeat is not Repeat.NEW
        return True

    def _mend(self, session: Session, one: Found, known: Instance | None) -> None:
        """A second copy takes the place of a kept file that is lost or altered. Else it is left where it is.

        Another host may have taken the image over while this one was away. What that one has counts, as long as it is
        heard of.
        """
        if known is not None and self._is_lost(session, known):
            known.path, known.sha256, known.size = self.layout.relative(one.path), one.sha256, one.size
            known.host = self.layout.host if self._is_elsewhere(known) else known.host
            self.result.images += 1
        else:
            self.result.left.append(one.path)

    def _is_lost(self, session: Session, known: Instance) -> bool:
        if self._is_elsewhere(known):
            return is_silent(session, known.host)
        return bool(damage(self.layout.directory / known.path, known.sha256))

    def _is_elsewhere(self, known: Instance) -> bool:
        """Whether another host has the file in a storage of its own."""
        return not self.layout.shared and known.host not in ("", self.layout.host)

    def _compare_and_enter(self, one: Found, sender: Sender) -> None:
        with reading(self.engine) as session:
            known = recognise(session, arrival_of(one.examined, one, sender, host=self.layout.host)).known
            kept = self.layout.directory / known.path if known is not None else None
        try:
            same = kept is None or self.comparison.compare("", kept, one.path).same
        except (Undecided, OSError) as error:
            log().warning("a file of the storage cannot be compared now", reason=str(error))
            self.result.left.append(one.path)
            return
        with writing(self.engine) as session:
            self._enter(session, one, sender, same)

    def _in_quarantine(self, one: Found) -> bool:
        return self.layout.quarantine in one.path.parents

    def _was_being_removed(self, one: Found, known: Instance) -> bool:
        """Whether retention had told the ledger, and not yet deleted the file. One that came later is another file.

        What another host took over, and has removed since, is one that retention would have deleted here.
        """
        same_file = known.path == self.layout.relative(one.path) or self._is_elsewhere(known)
        return same_file and one.written_at <= known.received_at + SAME_MOMENT_SECONDS

    def _place(self, one: Found, *, quarantine: bool) -> Path:
        """Where the file belongs: an image that contradicts another one goes to quarantine."""
        if not quarantine or self._in_quarantine(one):
            return one.path
        folder = self.layout.quarantine / one.path.parent.name
        folder.mkdir(mode=0o700, exist_ok=True)
        path = one.path.rename(folder / one.path.name)
        for changed in (one.path.parent, folder, self.layout.quarantine):
            sync_folder(changed)
        return path
