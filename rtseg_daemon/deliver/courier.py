"""Delivery: one queue and one thread per destination, so that one that is down delays no other."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import DestinationPeer
from rtseg_daemon.deliver import commitment
from rtseg_daemon.deliver.answers import (
    Answer,
    Trial,
    answer_of,
    failure_of,
    meaning,
    next_attempt_at,
    wait_before_next,
)
from rtseg_daemon.deliver.decompressing import Decompressor
from rtseg_daemon.deliver.event_reports import take_event_report
from rtseg_daemon.deliver.parcel import Parcel, pack
from rtseg_daemon.deliver.send import offers_for, store
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import Association, Local, Message, Waits, associated, echo
from rtseg_daemon.dicom.contexts import COMMITMENT
from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.wire import PeerError, PeerFault
from rtseg_daemon.errors import ContextRefused, DutyLost, NotDecompressed, RtsegError, StateError, Withdrawn
from rtseg_daemon.ledger import deliveries
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.retry import really_waited
from rtseg_daemon.ledger.schema import Delivery
from rtseg_daemon.ledger.superseding import refuse_unsendable
from rtseg_daemon.ledger.wake import DELIVERIES, Bell
from rtseg_daemon.logs import log
from rtseg_daemon.storage import layout_of
from rtseg_daemon.stored import Files, OwnFiles

IDLE_SECONDS = 0.5
LONGEST_IDLE_SECONDS = 2.0
"""Where the ledger wakes it. An attempt that falls due wakes nobody."""
REPORT_SECONDS = 5.0
"""How long the association stays open for a commitment report before the rest is left to the listener."""


def duty_of(destination: str) -> str:
    """The name of the duty to send to a destination."""
    return f"deliver to {destination}"


class Courier(threading.Thread):
    """Works through the queue of one destination."""

    def __init__(
        self,
        engine: Engine,
        config: Config,
        destination: DestinationPeer,
        stop: threading.Event,
        waits: Waits = Waits(),
        files: Files | None = None,
        duty: OnDuty | None = None,
    ) -> None:
        super().__init__(name=f"courier-{destination.name}", daemon=True)
        self.engine = engine
        self.settings = config.delivery
        self.files = files or OwnFiles(layout_of(config))
        self.destination = destination
        self.duty = duty or OnDuty(engine, duty_of(destination.name), "", alone=True)
        self.ledger = self.duty.ledger
        """Whatever is read or written by it raises DutyLost once another host sends there."""
        self.duty_token: int | None = None
        """That of the last turn: with another one somebody else has sent in between."""
        self.local = Local(config.dicom.ae_title, config.dicom.tls)
        self.decompressor = Decompressor()
        self.stop = stop
        self.waits = waits
        self.bell = Bell(engine, DELIVERIES)
        self.probed_at = float("-inf")
        self.unsettled = True
        """Whether a delivery may still be SENDING though nobody sends it."""

    def run(self) -> None:
        """Until stopped. An error that nobody foresaw costs one turn, not the queue."""
        while not self.stop.is_set():
            if not self._guarded(self.turn):
                self.bell.wait(self.stop, IDLE_SECONDS, LONGEST_IDLE_SECONDS)
        self.bell.close()

    def _guarded(self, work: Callable[[], bool]) -> bool:
        try:
            return work()
        except DutyLost as error:
            log().warning("another host sends by now", destination=self.destination.name, reason=str(error))
        except (SQLAlchemyError, OSError, StateError) as error:
            log().error("delivery paused; trying again", destination=self.destination.name, exc_info=error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the queue must go on
            log().critical("delivery broke; trying again", destination=self.destination.name, exc_info=error)
        self.unsettled = True
        self.stop.wait(5 * IDLE_SECONDS)
        return False

    def resume(self) -> None:
        """Take up what was on the wire when the last process ended, or the ledger could not be written."""
        with writing(self.ledger) as session:
            deliveries.resume_interrupted(session, self.destination.name)
        self.unsettled = False

    def turn(self) -> bool:
        """Send what is due, or probe. Returns False if there was nothing to send, or another host sends."""
        if not self.duty.ours():
            return False
        if self.duty.token != self.duty_token:
            self.unsettled, self.duty_token = True, self.duty.token
        if self.unsettled:
            self.resume()
        parcel_id = self.next_due()
        if parcel_id is not None:
            with self.duty.kept():
                self.attempt(parcel_id)
            return True
        if time.monotonic() - self.probed_at >= self.settings.probe_seconds:
            with self.duty.kept():
                self.probe()
        return False

    def next_due(self) -> int | None:
        """The oldest delivery whose attempt is due."""
        with reading(self.ledger) as session:
            longest = self.settings.longest_retry_seconds
            due = deliveries.due_deliveries(session, self.destination.name, time.time(), longest)
            return due[0].id if due else None

    def probe(self) -> None:
        """C-ECHO. A destination that answers again has its whole queue woken."""
        try:
            status = echo(self.local, self.destination, self.waits)
        except RtsegError as error:
            self.note(up=False, error=str(error))
        else:
            self.note(up=status == 0x0000, error=None if status == 0x0000 else f"C-ECHO answered 0x{status:04X}")

    def note(self, up: bool, error: str | None = None) -> None:
        """Remember how the destination is. Wake its queue when it has come back."""
        self.probed_at = time.monotonic()
        name = self.destination.name
        with writing(self.ledger) as session:
            if deliveries.note_destination(session, name, up, error):
                woken = deliveries.wake_destination(session, name)
                log().info("destination answers", destination=name, woken=woken)

    def attempt(self, delivery_id: int) -> None:
        """One attempt, from SENDING to what came of it. Raises DutyLost where another host sends by now."""
        with writing(self.ledger) as session:
            deliveries.begin_delivery(session, delivery_id)
        try:
            with reading(self.ledger) as session:
                parcel = pack(session.get_one(Delivery, delivery_id), self.destination, self.files)
            status, comment = self.send(parcel)
        except Withdrawn as error:
            return self.withdraw(delivery_id, str(error))
        except (SQLAlchemyError, StateError, DutyLost):
            raise
        except Exception as error:  # noqa: BLE001 - the world is met here; one parcel must not end the queue
            return self.failed(delivery_id, error)
        answer = answer_of(status)
        if answer is not Answer.ARRIVED:
            self.put_off(delivery_id, answer, status, comment)
        return self.note(up=True)

    def failed(self, delivery_id: int, error: Exception) -> None:
        """What follows from an attempt that ended in an error."""
        failure = failure_of(error)
        if not failure.is_foreseen:
            log().critical("a delivery broke; trying again", delivery=delivery_id, exc_info=error)
        self.put_off(delivery_id, failure.answer, None, failure.words)
        if failure.is_away:
            self.note(up=False, error=failure.words)

    def send(self, parcel: Parcel) -> tuple[int, str]:
        """Send a parcel over one association. Returns the deciding status and words for people. Records what arrived.

        Raises DeliveryError if no answer came, OSError for a file of ours that cannot be read, Withdrawn if something
        came in between after which it may not be sent, DutyLost if another host sends by now.
        """
        offers = offers_for(parcel.files, self.destination.commitment)
        with (
            contextlib.closing(self.decompressor),
            associated(self.local, self.destination, offers, self.waits) as association,
        ):
            try:
                return self.send_over(association, parcel)
            except Withdrawn:
                association.release()
                raise

    def send_over(self, association: Association, parcel: Parcel) -> tuple[int, str]:
        """The images, then the structure set, also where an image cannot be sent in any form. Raises as `send` does."""
        refused, left_out = self.send_images(association, parcel)
        if refused is not None:
            return refused
        self.duty.renew()  # nobody else is to begin while this object is on its way, even if the ledger goes away now
        stored = self.store(association, parcel, parcel.rtstruct)
        comment = stored.comment or meaning(stored.code)
        if answer_of(stored.code) is Answer.ARRIVED:
            self.arrived(parcel, stored.code, comment, left_out)
            if self.destination.commitment:
                self.ask_commitment(association, parcel.without(left_out))
        return stored.code, comment

    def store(self, association: Association, parcel: Parcel, path: Path) -> Status:
        """Send one file, after a last look at the ledger. Raises Withdrawn if it may not be sent any more.

        A destination may take minutes for an association and a CT. Decisions and images that come meanwhile count.
        Raises DutyLost if another host sends by now.
        """
        try:
            with reading(self.ledger) as session:
                refuse_unsendable(session, session.get_one(Delivery, parcel.delivery_id).job)
        except StateError as error:
            raise Withdrawn(str(error)) from error
        return store(association, path, self.decompressor)

    def withdraw(self, delivery_id: int, why: str) -> None:
        """What follows when something came in between: the job's deliveries are stopped, or wait for the sweep."""
        with writing(self.ledger) as session:
            deliveries.record_withdrawn(session, delivery_id, why)
        log().warning("not sent", delivery=delivery_id, destination=self.destination.name, reason=why)

    def arrived(self, parcel: Parcel, status: int, comment: str, left_out: Mapping[str, str]) -> None:
        """SENT, before anything else is asked: a commitment report may come at any moment from now on."""
        with writing(self.ledger) as session:
            deliveries.record_sent(session, parcel.delivery_id, status, comment)
            if left_out:
                deliveries.record_left_out(session, parcel.delivery_id, left_out)
        name = self.destination.name
        log().info("delivered", delivery=parcel.delivery_id, destination=name, status=f"0x{status:04X}")

    def send_images(self, association: Association, parcel: Parcel) -> tuple[tuple[int, str] | None, dict[str, str]]:
        """Send the CT. What arrived is remembered. The first refusal ends it and decides for the whole parcel.

        Returns that refusal, and the images (by UID, with the reason) that cannot be sent there in any form.
        """
        arrived: list[str] = []
        left_out: dict[str, str] = {}
        try:
            for _, uid, path in parcel.images:
                try:
                    stored = self.store(association, parcel, path)
                except (ContextRefused, NotDecompressed) as error:
                    left_out[uid] = str(error)
                    continue
                if answer_of(stored.code) is not Answer.ARRIVED:
                    words = f"a CT image was refused: {stored.comment or meaning(stored.code)}"
                    return (stored.code, words), left_out
                arrived.append(uid)
        finally:
            if arrived:
                with writing(self.ledger) as session:
                    deliveries.remember_images(session, parcel.delivery_id, arrived)
        return None, left_out

    def ask_commitment(self, association: Association, parcel: Parcel) -> None:
        """Ask once the structure set has arrived. A destination that cannot is no failure of the delivery."""
        objects = [(sop_class, uid) for sop_class, uid, _ in parcel.images] + [parcel.rtstruct_uid]
        transaction = commitment.new_transaction()
        with writing(self.ledger) as session:
            deliveries.ask_commitment(session, parcel.delivery_id, transaction)
        reports: list[Status] = []

        def take(message: Message) -> Status:
            if message.context.sop_class != COMMITMENT:
                raise PeerFault("a report on a presentation context that is not for it")
            reports.append(take_event_report(self.engine, message.command, message.data, message.context.syntax))
            return reports[-1]

        serve = {dimse.N_EVENT_REPORT_RQ: take}
        try:
            status = commitment.ask(association, transaction, objects, serve)
            if status == 0x0000:
                association.listen(REPORT_SECONDS, serve, lambda: bool(reports))
                return
            words = f"0x{status:04X}"
        except ContextRefused as error:
            words = str(error)
        except PeerError as error:
            association.abort()
            words = str(error)
        log().warning("storage commitment was not accepted", destination=self.destination.name, reason=words)

    def put_off(self, delivery_id: int, answer: Answer, status: int | None, comment: str) -> None:
        """WAITING with the time of the next attempt, or FAILED with the reason."""
        now = time.time()
        with writing(self.ledger) as session:
            delivery = session.get_one(Delivery, delivery_id)
            trial = trial_of(delivery, now)
            wait = wait_before_next(answer, trial, self.settings, random.random())  # noqa: S311 - spreads load, no secret
            again_at = next_attempt_at(now, wait or 0.0, planned_at(delivery))
            if wait is None:
                told = comment if status is None else f"0x{status:04X} {meaning(status)}"
                reason = comment if status is None else f"0x{status:04X} {comment}"
                deliveries.record_failed(session, delivery_id, status, reason, told, at=now)
            else:
                deliveries.record_again(
                    session,
                    delivery_id,
                    status,
                    comment,
                    refused=answer is Answer.REFUSED_FOR_NOW,
                    next_attempt_at=again_at,
                    waited_seconds=trial.waited_seconds,
                    refused_seconds=trial.refused_seconds,
                    at=now,
                )
        outcome = "given up" if wait is None else f"next attempt in {again_at - now:.0f} s"
        log().warning("not delivered", delivery=delivery_id, destination=self.destination.name, outcome=outcome)


def trial_of(delivery: Delivery, now: float) -> Trial:
    """The facts for the decision: what was really waited since the last attempt is added up."""
    waited = really_waited(now, delivery.last_attempt_at, delivery.planned_seconds)
    refused = waited if delivery.refused else 0.0
    return Trial(delivery.attempts, delivery.waited_seconds + waited, delivery.refused_seconds + refused)


def planned_at(delivery: Delivery) -> float | None:
    """When the attempt that was just made had been planned, or None for the first."""
    return None if delivery.last_attempt_at is None else delivery.last_attempt_at + delivery.planned_seconds
