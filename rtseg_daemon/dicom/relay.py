"""Images that come by C-GET go to our own listener: there is one way in, with all its checks."""

from dataclasses import replace

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import DestinationPeer, QueryPeer
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import Association, Data, Local, Message, associated
from rtseg_daemon.dicom.dimse import Status
from rtseg_daemon.dicom.query import CT_OFFERS, RETRIEVE_WAITS, RemoteSeries, Retrieved, get
from rtseg_daemon.dicom.wire import PeerError
from rtseg_daemon.errors import ContextRefused


def relay(settings: Config, pacs: QueryPeer, series: RemoteSeries) -> Retrieved:
    """C-GET a series and store each image in the running daemon. Raises DeliveryError if either does not answer.

    With `dicom.allowed_callers`, our own AE title at `dicom.host` must be among them.
    """
    local = Local(settings.dicom.ae_title, settings.dicom.tls)
    offers = [replace(offer, provides=False) for offer in CT_OFFERS]
    with associated(local, ourselves(settings), offers, RETRIEVE_WAITS) as listener:
        return get(local, pacs, series, lambda message: hand_on(listener, message))


def hand_on(listener: Association, message: Message) -> Status:
    """Store one image in the daemon as it came. Its answer becomes ours to the PACS."""
    try:
        context = listener.context(message.context.sop_class, message.context.syntax)
        return listener.store(context, message.command.text(dimse.AFFECTED_INSTANCE), Data.of(message.data))
    except ContextRefused as error:
        return Status(dimse.OUT_OF_RESOURCES, str(error))
    except PeerError as error:
        listener.abort()
        return Status(dimse.OUT_OF_RESOURCES, str(error))


def ourselves(settings: Config) -> DestinationPeer:
    """The running daemon as a peer."""
    tls = settings.dicom.tls
    encrypted = tls is not None and tls.only
    host = "127.0.0.1" if settings.dicom.host in ("0.0.0.0", "::") else settings.dicom.host  # noqa: S104 - compared only
    port = tls.port if tls is not None and encrypted else settings.dicom.port
    return DestinationPeer(name="this daemon", ae_title=settings.dicom.ae_title, host=host, port=port, tls=encrypted)
