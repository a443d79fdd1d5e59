"""Images that come by C-GET go to our own listener: there is one way in, with all its checks."""

from pydicom import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association

from rtseg_daemon.config.file import Config
from rtseg_daemon.config.sections import DestinationPeer, QueryPeer
from rtseg_daemon.dicom.association import Local, associated
from rtseg_daemon.dicom.contexts import LOSSLESS
from rtseg_daemon.dicom.query import RETRIEVE_WAITS, RemoteSeries, Retrieved, get

REFUSED = 0xA700


def relay(settings: Config, pacs: QueryPeer, series: RemoteSeries) -> Retrieved:
    """C-GET a series and store each image in the running daemon; raises DeliveryError if either does not answer.

    With `dicom.allowed_callers`, our own AE title at `dicom.host` must be among them.
    """
    local = Local(settings.dicom.ae_title, settings.dicom.tls)
    syntaxes: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
    contexts = [build_context(CTImageStorage, syntaxes)]
    contexts += [build_context(CTImageStorage, [syntax]) for syntax in LOSSLESS]
    with associated(local, ourselves(settings), contexts, RETRIEVE_WAITS) as listener:
        return get(local, pacs, series, lambda dataset: hand_on(listener, dataset))


def hand_on(listener: Association, dataset: Dataset) -> int:
    """Store one image in the daemon; its answer becomes ours to the PACS."""
    try:
        answer = listener.send_c_store(dataset)
    except (ValueError, RuntimeError):
        return REFUSED
    return int(answer.Status) if "Status" in answer else REFUSED


def ourselves(settings: Config) -> DestinationPeer:
    """The running daemon as a peer."""
    tls = settings.dicom.tls
    encrypted = tls is not None and tls.only
    host = "127.0.0.1" if settings.dicom.host in ("0.0.0.0", "::") else settings.dicom.host  # noqa: S104 - compared only
    port = tls.port if tls is not None and encrypted else settings.dicom.port
    return DestinationPeer(name="this daemon", ae_title=settings.dicom.ae_title, host=host, port=port, tls=encrypted)
