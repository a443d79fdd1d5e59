"""Images that come by C-GET go to our own listener: there is one way in, with all its checks."""

import contextlib
import time
from dataclasses import dataclass, replace

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import DestinationPeer, QueryPeer
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import Association, Data, Local, Message, Waits, establish
from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.query import RemoteSeries
from rtseg_daemon.dicom.retrieve import CT_OFFERS, WAITS, Retrieved, get
from rtseg_daemon.dicom.wire import PeerError
from rtseg_daemon.errors import DeliveryError

REST_SECONDS = 20.0
"""After so long without an image our listener is called anew. It ends associations that are idle for a minute."""


def relay(settings: Config, pacs: QueryPeer, series: RemoteSeries, waits: Waits = WAITS) -> Retrieved:
    """C-GET a series and store each image in the running daemon. Raises DeliveryError if either does not answer.

    With `dicom.allowed_callers`, our own AE title at `dicom.host` must be among them.
    """
    local = Local(settings.dicom.ae_title, settings.dicom.tls)
    with contextlib.closing(OwnListener(local, ourselves(settings))) as listener:
        listener.at_hand()
        return get(local, pacs, series, listener.take, waits)


@dataclass
class OwnListener:
    """The running daemon's listener, called anew after a pause: a PACS may take minutes before the next image."""

    local: Local
    peer: DestinationPeer
    association: Association | None = None
    used: float = 0.0

    def at_hand(self) -> Association:
        """An association that was used a moment ago, or a new one. Raises DeliveryError."""
        if self.association is None or time.monotonic() - self.used > REST_SECONDS:
            self.close()
            offers = [replace(offer, provides=False) for offer in CT_OFFERS]
            self.association = establish(self.local, self.peer, offers, WAITS)
        self.used = time.monotonic()
        return self.association

    def take(self, message: Message) -> Status:
        """Store one image in the daemon as it came. Its answer becomes ours to the PACS."""
        try:
            listener = self.at_hand()
            context = listener.context(message.context.sop_class, message.context.syntax)
            stored = listener.store(context, message.command.text(dimse.AFFECTED_INSTANCE), Data.of(message.data))
        except DeliveryError as error:
            return Status(dimse.OUT_OF_RESOURCES, str(error))
        except PeerError as error:
            self.close()
            return Status(dimse.OUT_OF_RESOURCES, str(error))
        self.used = time.monotonic()
        return stored

    def close(self) -> None:
        """An orderly end, where there is something to end."""
        if self.association is not None:
            self.association.release()
        self.association = None


def ourselves(settings: Config) -> DestinationPeer:
    """The running daemon as a peer."""
    tls = settings.dicom.tls
    encrypted = tls is not None and tls.only
    host = "127.0.0.1" if settings.dicom.host in ("0.0.0.0", "::") else settings.dicom.host  # noqa: S104 - compared only
    port = tls.port if tls is not None and encrypted else settings.dicom.port
    return DestinationPeer(name="this daemon", ae_title=settings.dicom.ae_title, host=host, port=port, tls=encrypted)
