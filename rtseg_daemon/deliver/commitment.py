"""Storage commitment (PS3.4, annex J): asking a destination to take responsibility, and reading its report."""

from collections.abc import Sequence

from pydicom import Dataset
from pydicom.uid import UID, generate_uid
from sqlalchemy import Engine

from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import Association, Data, Serve
from rtseg_daemon.dicom.contexts import COMMITMENT
from rtseg_daemon.dicom.datasets import encode
from rtseg_daemon.ledger.deliveries import record_commitment
from rtseg_daemon.ledger.engine import writing

PUSH_MODEL_INSTANCE = UID("1.2.840.10008.1.20.1.1")
REQUEST_COMMITMENT = 1
ALL_COMMITTED = 1
SOME_FAILED = 2
UNKNOWN_EVENT = 0x0113
UNKNOWN_ARGUMENT = 0x0115


def new_transaction() -> str:
    """A transaction UID, unique for ever."""
    return str(generate_uid(prefix=None))


def request(transaction_uid: str, objects: Sequence[tuple[str, str]]) -> Dataset:
    """The N-ACTION's data set for (SOP class UID, SOP instance UID) pairs (PS3.4, table J.3-1)."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    dataset.ReferencedSOPSequence = []
    for sop_class, sop_instance in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        dataset.ReferencedSOPSequence.append(item)
    return dataset


def ask(association: Association, transaction_uid: str, objects: Sequence[tuple[str, str]], serve: Serve) -> int:
    """Send the N-ACTION. Returns its status. `serve` takes a report that comes before the answer.

    Raises ContextRefused where the peer does not have the service, PeerError where no answer came.
    """
    context = association.context(COMMITMENT)
    values = {
        dimse.REQUESTED_CLASS: COMMITMENT.encode(),
        dimse.REQUESTED_INSTANCE: PUSH_MODEL_INSTANCE.encode(),
        dimse.ACTION_TYPE: dimse.short(REQUEST_COMMITMENT),
    }
    data = Data.of(encode(request(transaction_uid, objects), context.syntax))
    return association.ask(context, dimse.N_ACTION_RQ, values, data, serve).status


def failures(report: Dataset) -> dict[str, int]:
    """SOP instance UID -> failure reason of every object that was not committed (PS3.4, table J.3-2)."""
    return {
        str(item.get("ReferencedSOPInstanceUID", "")): int(item.get("FailureReason", 0x0110))
        for item in report.get("FailedSOPSequence", [])
    }


def take_report(engine: Engine, event_type: int, report: Dataset) -> int:
    """Enter an N-EVENT-REPORT in the ledger. Returns the status to answer with.

    A transaction that we never asked for is answered 0x0115 (invalid argument value), an event that the service does
    not have 0x0113 (no such event type, PS3.7, annex C.5). A failure report without a list of failed objects commits
    nothing.
    """
    if event_type not in (ALL_COMMITTED, SOME_FAILED):
        return UNKNOWN_EVENT
    transaction = str(report.get("TransactionUID", ""))
    failed = failures(report)
    if event_type == SOME_FAILED and not failed:
        failed = {"": 0x0110}
    with writing(engine) as session:
        known = record_commitment(session, transaction, failed)
    return 0x0000 if known is not None else UNKNOWN_ARGUMENT
