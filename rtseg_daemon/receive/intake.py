"""From a C-STORE to a durable object and its row: judged, written, fsynced, renamed, committed. Then it is answered."""

import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.contexts import STRUCTURE_SETS, is_forwarded_along
from rtseg_daemon.dicom.dimse import Command, Status
from rtseg_daemon.dicom.part10 import file_head, is_uid
from rtseg_daemon.dicom.wire import PeerFault, PeerLimits
from rtseg_daemon.errors import StateError, Undecided
from rtseg_daemon.ledger import associations
from rtseg_daemon.ledger.arrivals import Arrival, add_instance, touch
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.hosts import is_silent
from rtseg_daemon.ledger.loss import is_lost_connection
from rtseg_daemon.ledger.reception import Recorded, enter
from rtseg_daemon.ledger.recognition import Recognised, Repeat, recognise
from rtseg_daemon.ledger.states import Ending
from rtseg_daemon.logs import log, short
from rtseg_daemon.receive import returned
from rtseg_daemon.receive.arrival import arrival_of
from rtseg_daemon.receive.comparison import Comparison
from rtseg_daemon.receive.decoding import Decoder
from rtseg_daemon.receive.doubt import Doubt, digest_in, settle
from rtseg_daemon.receive.dropped import drain, noted, tell_dropped
from rtseg_daemon.receive.examine import Examined, examine, is_ct, named_series
from rtseg_daemon.receive.group_commit import GroupCommit
from rtseg_daemon.receive.sender import MOST_REFUSED, Sender, enter_refusals
from rtseg_daemon.receive.store import FULL, ObjectStore, Spool
from rtseg_daemon.stored import Files, OwnFiles, image

OWED_SECONDS = 1.0
"""Until it is tried again to note an end that the ledger would not take."""
NO_SPACE = Status(dimse.OUT_OF_RESOURCES, "no space left on the storage")
NOT_COMPARED = Status(dimse.OUT_OF_RESOURCES, "an earlier copy cannot be compared now; send it again")
EMPTY = Status(dimse.CANNOT_UNDERSTAND, "the data set is empty")
NO_LEDGER = Status(dimse.OUT_OF_RESOURCES, "the ledger cannot be written now")


class Intake:
    """Takes C-STOREs of all associations."""

    def __init__(
        self,
        store: ObjectStore,
        commits: GroupCommit,
        limits: PeerLimits,
        minimum_free_gb: float,
        comparison: Comparison | None = None,
        returned_bytes: int = 0,
        files: Files | None = None,
    ) -> None:
        self.comparison = comparison or Comparison(Decoder())
        self.store = store
        self.files = files or OwnFiles(store.layout)
        self.commits = commits
        self.limits = limits
        self.minimum_free_gb = minimum_free_gb
        self.returned_bytes = max(returned_bytes, limits.object_bytes)
        self.told: set[str] = set()

    def take(
        self, sender: Sender, command: Command, sop_class: str, transfer_syntax: str, data: Iterable[memoryview]
    ) -> Status:
        """Consume the whole data set and answer. Raises PeerFault where it is larger than allowed.

        An image that is not kept, for whatever reason, is remembered: its series is not complete without it.
        """
        head, kept = bytearray(), False
        try:
            status = self._take(sender, command, sop_class, transfer_syntax, noted(data, head))
            kept = status.code == dimse.SUCCESS
        finally:
            if not kept and is_ct(sop_class):
                series_uid = named_series(memoryview(bytes(head)), transfer_syntax)
                self._note_refused(sender, series_uid, command.text(dimse.AFFECTED_INSTANCE))
        return status

    def _note_refused(self, sender: Sender, series_uid: str, sop_uid: str) -> None:
        """At once, for an association may stay open for hours. What fails here is done at its end."""
        if len(sender.refused) < MOST_REFUSED:
            sender.refused.append((series_uid, sop_uid if is_uid(sop_uid) else ""))
        else:
            sender.uncounted = True
        with contextlib.suppress(SQLAlchemyError, OSError):
            sender.association_id = self.commits.submit(
                lambda session: enter_refusals(session, sender, self.store.layout.host)
            )
            sender.refused.clear()

    def _take(
        self, sender: Sender, command: Command, sop_class: str, transfer_syntax: str, data: Iterable[memoryview]
    ) -> Status:
        comes_back = sender.feedback and sop_class == STRUCTURE_SETS
        most = self.returned_bytes if comes_back else self.limits.object_bytes
        refusal = self._refuse_at_once(command, sop_class, is_ct(sop_class) or comes_back)
        if refusal is not None or not (is_ct(sop_class) or comes_back):
            size = drain(data, most)
            if refusal is None:
                tell_dropped(sender, sop_class, size)
            return refusal or Status(dimse.SUCCESS)
        sop_instance = command.text(dimse.AFFECTED_INSTANCE)
        try:
            spool = self.store.begin(file_head(sop_class, sop_instance, transfer_syntax))
        except OSError as error:
            drain(data, most)
            return self._storage_failed(error)
        try:
            failed = self._receive(spool, data, most)
            if failed is None and comes_back:
                return self._keep_returned(sender, spool, sop_instance)
            return failed or self._keep(sender, spool, sop_class, sop_instance, transfer_syntax)
        finally:
            spool.discard()

    def _refuse_at_once(self, command: Command, sop_class: str, kept: bool) -> Status | None:
        """What can be refused before the data set was seen. `kept`: whether it is to be written down."""
        if command.text(dimse.AFFECTED_CLASS) != sop_class or not (is_ct(sop_class) or is_forwarded_along(sop_class)):
            return Status(dimse.UNSUPPORTED_CLASS, "the class is not that of the presentation context")
        if not is_uid(command.text(dimse.AFFECTED_INSTANCE)):
            return Status(dimse.INVALID_INSTANCE, "SOPInstanceUID is malformed")
        if kept and self.store.layout.free_gb() < self.minimum_free_gb:
            return Status(dimse.OUT_OF_RESOURCES, "less than storage.minimum_free_gb is left")
        return None

    def _receive(self, spool: Spool, data: Iterable[memoryview], most: int) -> Status | None:
        """Write the data set as it comes. A disk that fills up does not end the association."""
        failed: Status | None = None
        size = 0
        for chunk in data:
            size += len(chunk)
            if size > most:
                raise PeerFault(f"an object larger than {most} bytes")
            failed = failed or self._attempt(lambda: spool.write(chunk))  # noqa: B023 - called at once
        return failed or self._attempt(spool.flush)

    def _attempt(self, write: Callable[[], None]) -> Status | None:
        """Why writing failed, if it did."""
        try:
            write()
        except OSError as error:
            return self._storage_failed(error)
        return None

    def _keep(self, sender: Sender, spool: Spool, sop_class: str, sop_instance: str, syntax: str) -> Status:
        """Judge what was written, make it durable, record it."""
        if spool.size == spool.head_size:
            return EMPTY
        with spool.data_set() as data_set:
            found = examine(data_set, syntax, sop_class, sop_instance)
        if isinstance(found, Status):
            log().warning(
                "refused an object", status=f"{found.code:04X}", reason=found.comment, sop=short(sop_instance)
            )
            return found
        return self._entered(spool, lambda: self._enter(sender, spool, found))

    def _keep_returned(self, sender: Sender, spool: Spool, sop_instance: str) -> Status:
        """Make a structure set that comes back durable, as it is, and record it."""
        if spool.size == spool.head_size:
            return EMPTY

        def enter() -> Status:
            kept = self.commits.submit(
                lambda session: returned.enter(session, self.store, sender, spool, sop_instance), spool.finish
            )
            spool.kept = bool(kept.path)
            log().info("a structure set came back", returned_set=kept.set_id, new=kept.new, size=spool.size)
            return Status(dimse.SUCCESS)

        return self._entered(spool, enter)

    def _entered(self, spool: Spool, enter: Callable[[], Status]) -> Status:
        """What `enter` answers, or the refusal where storage or ledger fail it.

        Where the database server is away, nobody can say whether the ledger has the object. So its file stays.
        """
        try:
            return enter()
        except Undecided as error:
            log().warning("an image cannot be compared with its earlier copy now", reason=str(error))
            return NOT_COMPARED
        except OSError as error:
            return self._storage_failed(error)
        except (SQLAlchemyError, StateError) as error:
            spool.kept = spool.is_placed and is_lost_connection(error)
            log().error("the ledger cannot be written; the object is refused", exc_info=error)
            return NO_LEDGER

    def _enter(self, sender: Sender, spool: Spool, found: Examined) -> Status:
        """Make a file durable and enter it in the ledger. Raises OSError, SQLAlchemyError or Undecided."""
        outcome = self.commits.submit(lambda session: self._record(session, sender, spool, found), spool.finish)
        if isinstance(outcome, Doubt):
            settled = settle(outcome, self.files, self.comparison, spool.path, sender.host)
            outcome = self.commits.submit(lambda session: self._record(session, sender, spool, found, settled))
        if isinstance(outcome, Doubt):
            raise Undecided("the earlier copy was replaced meanwhile")
        spool.kept = bool(outcome.arrival.path)
        series_id = outcome.series_id
        sender.remember(outcome, series_id not in sender.noted or sender.due(series_id, outcome.arrival.received_at))
        if outcome.repeat is not Repeat.NEW:
            log().info("received again", repeat=str(outcome.repeat), series=outcome.series_id)
        return Status(dimse.SUCCESS)

    def _record(
        self, session: Session, sender: Sender, spool: Spool, found: Examined, settled: Doubt | None = None
    ) -> Recorded | Doubt:
        """In the writer's thread and transaction: name the file and enter it.

        Returns a Doubt where the earlier copy must be looked at first: only the pixels tell a duplicate from a
        contradiction, or another host has it, and may have lost it.
        """
        arrival = arrival_of(found, spool, sender, host=self.store.layout.host)
        seen = recognise(session, arrival)
        known, lost = seen.known, False
        if known is not None and (seen.repeat is Repeat.UNDECIDED or self._is_elsewhere(seen)):
            if settled is None or settled.answer is None or settled.stored != image(known):
                alike = seen.repeat is Repeat.DUPLICATE
                silent = not self.files.keeps(known.host) and is_silent(session, known.host)
                return Doubt(image(known), digest_in(known), alike=alike, silent=silent)
            answer, lost = settled.answer, settled.lost
            known.pixel_sha256 = answer.kept_pixels or known.pixel_sha256
            arrival = replace(arrival, pixel_sha256=answer.our_pixels or None)
            seen = replace(seen, repeat=Repeat.DUPLICATE if answer.same else Repeat.CONTENT_DIFFERS)
        arrival = replace(arrival, path=self._place(spool, seen, lost))
        if seen.open_series_id in sender.noted:
            return self._record_ordinary(session, sender, arrival, seen.open_series_id)
        if arrival.association_id is None:
            opened = associations.open_association(session, sender.calling_ae, sender.host, host=self.store.layout.host)
            arrival = replace(arrival, association_id=opened)
        return enter(session, arrival, seen)

    def _is_elsewhere(self, seen: Recognised) -> bool:
        """Whether it is the same as an object whose file another host has."""
        return seen.repeat is Repeat.DUPLICATE and seen.known is not None and not self.files.keeps(seen.known.host)

    def _place(self, spool: Spool, seen: Recognised, lost: bool) -> str:
        """Name the file, but not for a duplicate, whose file only mends one that was lost or altered.

        `lost`: whether another host was found to have it no more. Whatever comes back there, it belongs here now.
        """
        if seen.repeat is not Repeat.DUPLICATE:
            return self.store.place(spool, quarantine=seen.repeat is not Repeat.NEW)
        known = seen.known
        if known is None:
            return ""
        here = self.files.keeps(known.host)
        if self.store.intact(known.path, known.sha256) if here else not lost:
            return ""
        if not here:
            log().warning("an image that another host has lost is kept here", host=known.host, series=known.series_id)
            known.host = self.store.layout.host
        known.path = self.store.place(spool, quarantine=False)
        known.sha256, known.size = spool.sha256, spool.size
        return known.path

    def _record_ordinary(self, session: Session, sender: Sender, arrival: Arrival, series_id: int) -> Recorded:
        """What almost every arrival is: a new object of an open series that its association brought before."""
        add_instance(session, series_id, arrival)
        if arrival.association_id is not None and sender.due(series_id, arrival.received_at):
            touch(session, series_id, arrival.association_id, arrival.received_at)
        return Recorded(arrival, Repeat.NEW, series_id)

    def end(self, sender: Sender, ending: Ending) -> bool:
        """Note how an association ended, if it brought anything. Returns False where the ledger cannot be written.

        A transfer of which more was refused than the ledger could be told has broken off, however orderly it ends. What
        could not be noted is an abort to the peer, and is noted as one as soon as that is possible.
        """
        if sender.uncounted:
            ending = Ending.ABORTED
        if (sender.association_id is None and not sender.refused) or self._note_end(sender, ending):
            return True
        later = threading.Timer(OWED_SECONDS, self.end, [sender, Ending.ABORTED])
        later.daemon = True
        later.start()
        return sender.association_id is None  # nothing was acknowledged: the peer knows that its images are not kept

    def _note_end(self, sender: Sender, ending: Ending) -> bool:
        def note(session: Session) -> None:
            association_id = enter_refusals(session, sender, self.store.layout.host)
            for series_id, moment in sender.brought.items():
                touch(session, series_id, association_id, moment)
            associations.end_association(session, association_id, ending)

        try:
            self.commits.submit(note)
        except (SQLAlchemyError, OSError) as error:
            log().error("the end of an association could not be noted; trying again", exc_info=error)
            return False
        return True

    def alarm(self, kind: str, key: str, message: str) -> None:
        """Tell a person something that a connection showed, once for each key. A ledger that is busy is asked later."""
        if key in self.told:
            return
        with contextlib.suppress(SQLAlchemyError, OSError):
            self.commits.submit(lambda session: raise_alarm(session, kind, key, message))
            self.told.add(key)

    def _storage_failed(self, error: OSError) -> Status:
        log().error("the storage cannot be written; the object is refused", exc_info=error)
        return NO_SPACE if error.errno in FULL else Status(dimse.OUT_OF_RESOURCES, "the storage cannot be written now")
