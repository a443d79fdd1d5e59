"""From a C-STORE to a durable object and its row: judged, written, fsynced, renamed, committed; then answered."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.contexts import is_forwarded_along
from rtseg_daemon.dicom.dimse import Command, Status
from rtseg_daemon.dicom.examine import Examined, examine, is_ct, is_uid
from rtseg_daemon.dicom.group_commit import GroupCommit
from rtseg_daemon.dicom.netguard import Limits, PeerFault
from rtseg_daemon.dicom.store import FULL, ObjectStore, Spool, file_head
from rtseg_daemon.ledger import reception
from rtseg_daemon.ledger.reception import Arrival, Recorded, Repeat
from rtseg_daemon.ledger.states import Ending
from rtseg_daemon.logs import log, short

NO_SPACE = Status(dimse.OUT_OF_RESOURCES, "no space left on the storage")
NO_LEDGER = Status(dimse.OUT_OF_RESOURCES, "the ledger cannot be written now")


@dataclass
class Sender:
    """Who sends on one association; its row in the ledger is made with its first object."""

    calling_ae: str
    host: str
    association_id: int | None = None


class Intake:
    """Takes C-STOREs of all associations."""

    def __init__(self, store: ObjectStore, commits: GroupCommit, limits: Limits, minimum_free_gb: float) -> None:
        self.store = store
        self.commits = commits
        self.limits = limits
        self.minimum_free_gb = minimum_free_gb

    def take(
        self, sender: Sender, command: Command, sop_class: str, transfer_syntax: str, data: Iterable[memoryview]
    ) -> Status:
        """Consume the whole data set and answer; raises PeerFault where it is larger than allowed."""
        refusal = self._refuse_at_once(command, sop_class)
        if refusal is not None or is_forwarded_along(sop_class):
            size = drain(data, self.limits.object_bytes)
            if refusal is None:
                log().info("dropped an object that was forwarded along", sop_class=sop_class, size=size)
            return refusal or Status(dimse.SUCCESS)
        sop_instance = command.text(dimse.AFFECTED_INSTANCE)
        try:
            spool = self.store.begin(file_head(sop_class, sop_instance, transfer_syntax))
        except OSError as error:
            drain(data, self.limits.object_bytes)
            return self._storage_failed(error)
        try:
            status = self._receive(spool, data) or self._keep(sender, spool, sop_class, sop_instance, transfer_syntax)
        finally:
            spool.discard()
        return status

    def _refuse_at_once(self, command: Command, sop_class: str) -> Status | None:
        """What can be refused before the data set was seen."""
        if command.text(dimse.AFFECTED_CLASS) != sop_class or not (is_ct(sop_class) or is_forwarded_along(sop_class)):
            return Status(dimse.UNSUPPORTED_CLASS, "the class is not that of the presentation context")
        if not is_uid(command.text(dimse.AFFECTED_INSTANCE)):
            return Status(dimse.INVALID_INSTANCE, "SOPInstanceUID is malformed")
        if self.store.layout.free_gb() < self.minimum_free_gb:
            return Status(dimse.OUT_OF_RESOURCES, "less than storage.minimum_free_gb is left")
        return None

    def _receive(self, spool: Spool, data: Iterable[memoryview]) -> Status | None:
        """Write the data set as it comes; a disk that fills up does not end the association."""
        failed: Status | None = None
        size = 0
        for chunk in data:
            size += len(chunk)
            if size > self.limits.object_bytes:
                raise PeerFault(f"an object larger than {self.limits.object_bytes} bytes")
            if failed is None:
                try:
                    spool.write(chunk)
                except OSError as error:
                    failed = self._storage_failed(error)
        return failed

    def _keep(self, sender: Sender, spool: Spool, sop_class: str, sop_instance: str, syntax: str) -> Status:
        """Judge what was written, make it durable, record it."""
        if spool.size == spool.head_size:
            return Status(dimse.CANNOT_UNDERSTAND, "the data set is empty")
        with spool.data_set() as whole, memoryview(whole) as view, view[spool.head_size :] as data_set:
            found = examine(data_set, syntax, sop_class, sop_instance)
        if isinstance(found, Status):
            log().warning(
                "refused an object", status=f"{found.code:04X}", reason=found.comment, sop=short(sop_instance)
            )
            return found
        try:
            spool.finish()
            recorded = self.commits.submit(lambda session: self._record(session, sender, spool, found))
            spool.kept = bool(recorded.arrival.path)
        except OSError as error:
            return self._storage_failed(error)
        except SQLAlchemyError as error:
            log().error("the ledger cannot be written; the object is refused", exc_info=error)
            return NO_LEDGER
        if recorded.repeat is not Repeat.NEW:
            log().info(
                "received again", repeat=str(recorded.repeat), series=recorded.series_id, sop=short(sop_instance)
            )
        return Status(dimse.SUCCESS)

    def _record(self, session: Session, sender: Sender, spool: Spool, found: Examined) -> Recorded:
        """In the writer's thread and transaction: name the file and enter it."""
        association_id = sender.association_id
        if association_id is None:
            association_id = reception.open_association(session, sender.calling_ae, sender.host)
        arrival = arrival_of(found, spool, sender, association_id)
        kept = reception.kept_instance(session, found.sop_instance_uid)
        repeat = reception.compare(kept, arrival)
        path = ""
        if repeat is not Repeat.DUPLICATE:
            path = self.store.place(spool, found.series_uid, quarantine=repeat is not Repeat.NEW)
        elif kept is not None and not (self.store.layout.directory / kept.path).is_file():
            path = kept.path = self.store.place(spool, found.series_uid, quarantine=False)
            kept.sha256, kept.size = spool.sha256, spool.size
        recorded = reception.record_instances(session, [arrival_of(found, spool, sender, association_id, path)])[0]
        sender.association_id = association_id
        return recorded

    def end(self, sender: Sender, ending: Ending) -> None:
        """Note how an association ended, if it brought anything."""
        association_id = sender.association_id
        if association_id is None:
            return
        try:
            self.commits.submit(lambda session: reception.end_association(session, association_id, ending))
        except SQLAlchemyError as error:
            log().error("the end of an association could not be noted", exc_info=error)

    def _storage_failed(self, error: OSError) -> Status:
        log().error("the storage cannot be written; the object is refused", exc_info=error)
        return NO_SPACE if error.errno in FULL else Status(dimse.OUT_OF_RESOURCES, "the storage cannot be written now")


def arrival_of(found: Examined, spool: Spool, sender: Sender, association_id: int, path: str = "") -> Arrival:
    """The ledger's view of one object."""
    return Arrival(
        association_id=association_id,
        sop_instance_uid=found.sop_instance_uid,
        sop_class_uid=found.sop_class_uid,
        series_instance_uid=found.series_uid,
        study_instance_uid=found.study_uid,
        patient_id=found.patient_id,
        modality=found.modality,
        calling_ae=sender.calling_ae,
        calling_host=sender.host,
        path=path,
        sha256=spool.sha256,
        size=spool.size,
        received_at=time.time(),
        identity_sha256=found.identity_sha256,
        geometry_sha256=found.geometry_sha256,
        pixel_sha256=found.pixel_sha256,
        body_part=found.body_part,
        description=found.description,
        facts=found.facts,
    )


def drain(data: Iterable[memoryview], most: int) -> int:
    """Read a data set that is not kept; raises PeerFault beyond `most` bytes."""
    size = 0
    for chunk in data:
        size += len(chunk)
        if size > most:
            raise PeerFault(f"an object larger than {most} bytes")
    return size
