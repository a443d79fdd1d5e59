"""Query peers are asked for structure sets of what was delivered: for planning systems that do not send them."""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from rtseg_daemon.config.sections import QueryPeer
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import Local, Message, Waits
from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.part10 import file_head, is_uid
from rtseg_daemon.dicom.query import RemoteSeries, RemoteSet, structure_sets
from rtseg_daemon.dicom.retrieve import SET_OFFERS, Retrieved, get, move
from rtseg_daemon.dicom.statuses import told
from rtseg_daemon.errors import ContextRefused, DeliveryError, DutyLost
from rtseg_daemon.feedback.looking import DAY_SECONDS, Desk
from rtseg_daemon.ledger import returned
from rtseg_daemon.ledger.duties import OnDuty
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import raise_alarm
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.returned import Came
from rtseg_daemon.ledger.schema import Delivery, Job, Series
from rtseg_daemon.ledger.states import ARRIVED, Approval
from rtseg_daemon.logs import log
from rtseg_daemon.storage import Layout, damage, sync_folder, write_durably

POLL = "poll for structure sets"
TURN_SECONDS = 1.0
TROUBLE_SECONDS = 10.0
"""After an error of ledger or disk."""
AGAIN_SECONDS = DAY_SECONDS
"""Until a set that was not approved is fetched anew from a peer that does not say whether it is by now."""
WAITS = Waits(connect=5.0, associate=10.0, answer=60.0, total=300.0)
FETCH_WAITS = Waits(answer=600.0, total=3600.0)


@dataclass(eq=False)
class Poll(threading.Thread):
    """A thread of its own: a peer that does not answer must not hold up what has come. `clock` is monotonic."""

    desk: Desk
    stop: threading.Event
    clock: Callable[[], float] = time.monotonic
    polled_at: float = float("-inf")
    fetched: dict[str, float] = field(default_factory=dict)
    """SOP Instance UID to when it was fetched last."""
    duty: OnDuty | None = None
    """One host polls for all. None where this host is alone."""

    def __post_init__(self) -> None:
        super().__init__(name="poll", daemon=True)
        self.on_duty = self.duty or OnDuty(self.desk.engine, POLL, "", alone=True)
        self.desk = replace(self.desk, engine=self.on_duty.ledger)

    def run(self) -> None:
        while not self.stop.wait(TURN_SECONDS):
            try:
                if self.on_duty.ours() and self.is_due():  # asked between two polls too, or another host would poll
                    self.polled_at = self.clock()
                    with self.on_duty.kept():
                        self.turn()
            except DutyLost as error:
                log().warning("another host polls by now", reason=str(error))
            except (SQLAlchemyError, OSError) as error:
                log().error("query peers could not be polled; trying again later", exc_info=error)
                self.stop.wait(TROUBLE_SECONDS)
            except Exception as error:  # noqa: BLE001 - a stranger's answer must not end the polling
                log().critical("polling broke", exc_info=error)

    def is_due(self) -> bool:
        return self.clock() - self.polled_at >= self.desk.config.feedback.poll_minutes * 60.0

    def turn(self) -> None:
        """Ask every peer about every study that something was delivered of lately. A peer that fails is left alone."""
        with reading(self.desk.engine) as session:
            studies = delivered_studies(session, time.time() - self.desk.config.feedback.days * DAY_SECONDS)
        for peer in self.desk.config.query:
            try:
                for study_uid in studies:
                    if self.stop.is_set():
                        return
                    self.ask(peer, study_uid)
            except DeliveryError as error:
                self.tell(peer, str(error))

    def ask(self, peer: QueryPeer, study_uid: str) -> None:
        """Fetch what is new of a study. Raises DeliveryError."""
        local = Local(self.desk.config.dicom.ae_title, self.desk.config.dicom.tls)
        found = structure_sets(local, peer, study_uid, WAITS)
        with reading(self.desk.engine) as session:
            known = {one.sop_instance_uid: newest(session, one.sop_instance_uid) for one in found}
        now = self.clock()
        wanted = [one for one in found if is_wanted(one, known[one.sop_instance_uid], self.since(one, now))]
        for series in dict.fromkeys(one.series for one in wanted):
            done = self.fetch(local, peer, series)
            if not done.ok:
                raise DeliveryError(
                    f"{peer.name}: a structure set could not be fetched ({told(done.status, done.comment)})"
                )
            uids = [one.sop_instance_uid for one in found if one.series == series]
            self.require_arrived(peer, uids)
            self.fetched |= dict.fromkeys(uids, now)

    def require_arrived(self, peer: QueryPeer, uids: Sequence[str]) -> None:
        """Raise DeliveryError where nothing of what was sent is here: our listener drops it unless it may come back."""
        with reading(self.desk.engine) as session:
            if not any(newest(session, uid) for uid in uids):
                raise DeliveryError(
                    f"{peer.name}: it sent structure sets by C-MOVE and none was kept; give the AE title that it sends "
                    "from `feedback: true` in dicom.allowed_callers"
                )

    def since(self, one: RemoteSet, now: float) -> float:
        """Seconds since it was fetched last."""
        return now - self.fetched.get(one.sop_instance_uid, float("-inf"))

    def fetch(self, local: Local, peer: QueryPeer, series: RemoteSeries) -> Retrieved:
        """By C-GET, or by C-MOVE to our listener where the peer does not serve that. Raises DeliveryError."""
        try:
            return get(local, peer, series, lambda message: self.take(peer, message), FETCH_WAITS, SET_OFFERS)
        except ContextRefused:
            return move(local, peer, series, local.ae_title, FETCH_WAITS)

    def take(self, peer: QueryPeer, message: Message) -> Status:
        """Keep one structure set, durably, before it is answered."""
        sop_instance = message.command.text(dimse.AFFECTED_INSTANCE)
        if not is_uid(sop_instance):
            return Status(dimse.INVALID_INSTANCE, "SOPInstanceUID is malformed")
        if self.desk.layout.free_gb() < self.desk.config.storage.minimum_free_gb:
            return Status(dimse.OUT_OF_RESOURCES, "less than storage.minimum_free_gb is left")
        content = file_head(message.context.sop_class, sop_instance, message.context.syntax) + message.data
        try:
            self.keep(peer, sop_instance, content)
        except (OSError, SQLAlchemyError) as error:
            log().error("a structure set that was fetched cannot be kept", exc_info=error)
            return Status(dimse.OUT_OF_RESOURCES, "storage or ledger cannot be written now")
        return Status(dimse.SUCCESS)

    def keep(self, peer: QueryPeer, sop_instance: str, content: bytes) -> None:
        """The file, then its row. The same bytes as before change nothing."""
        layout, sha256 = self.desk.layout, hashlib.sha256(content).hexdigest()
        with reading(self.desk.engine) as session:
            row = returned.known(session, sop_instance, sha256)
        if row is not None and (is_elsewhere(row, layout) or not damage(layout.directory / row.path, sha256)):
            return
        path = layout.returned / time.strftime("%Y-%m-%d", time.gmtime()) / f"{sha256}.dcm"
        write_durably(path, content)
        sync_folder(layout.returned)
        where, size, host = layout.relative(path), len(content), layout.host
        came = Came(sop_instance, sha256, where, size, peer.ae_title, peer.host, "poll", host)
        with writing(self.desk.engine) as session:
            row = returned.known(session, sop_instance, sha256)
            if row is None:
                row = returned.enter(session, came)
            row.path, row.host = came.path, came.host
        log().info("a structure set was fetched", returned_set=row.id, peer=peer.name, size=size)

    def tell(self, peer: QueryPeer, reason: str) -> None:
        """In the log, and once a day to a person: what is not fetched is missing in every chart."""
        log().warning("a query peer cannot be polled", peer=peer.name, reason=reason)
        now = time.time()
        message = f"structure sets cannot be fetched from query peer {peer.name}: {reason}"
        with writing(self.desk.engine) as session:
            raise_alarm(session, "feedback", f"poll:{peer.name}:{int(now // DAY_SECONDS)}", message, at=now)


def is_elsewhere(row: ReturnedSet, layout: Layout) -> bool:
    """Whether a set's file is another host's, or was removed by retention."""
    return not row.path or row.host != layout.host


def delivered_studies(session: Session, since: float) -> Sequence[str]:
    """Studies of which a structure set of ours arrived somewhere since then, the newest first."""
    query = (
        select(Series.study_instance_uid, Delivery.sent_at)
        .join(Job, Job.series_id == Series.id)
        .join(Delivery, Delivery.job_id == Job.id)
        .where(Delivery.state.in_(ARRIVED), Delivery.sent_at >= since)
        .order_by(Delivery.sent_at.desc())
    )
    return list(dict.fromkeys(study for study, _ in session.execute(query)))


def newest(session: Session, sop_instance_uid: str) -> ReturnedSet | None:
    """What came last under this UID."""
    query = select(ReturnedSet).where(ReturnedSet.sop_instance_uid == sop_instance_uid)
    return session.scalars(query.order_by(ReturnedSet.id.desc()).limit(1)).one_or_none()


def is_wanted(one: RemoteSet, known: ReturnedSet | None, seconds_since: float) -> bool:
    """Whether to fetch a set: a new one, and one whose approval has changed, or may have."""
    if known is None:
        return True
    if one.approval:
        return one.approval != known.approval
    return known.approval is not Approval.APPROVED and seconds_since >= AGAIN_SECONDS
