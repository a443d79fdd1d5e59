"""Reports of storage commitment, on an association of the destination's own or on ours (PS3.4, J.3.3)."""

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.deliver.commitment import take_report
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.datasets import decode
from rtseg_daemon.dicom.dimse import Command, Status
from rtseg_daemon.dicom.scan import ScanError
from rtseg_daemon.logs import log

PROCESSING_FAILURE = 0x0110


def take_event_report(engine: Engine, command: Command, data: bytes, transfer_syntax: str) -> Status:
    """Enter one report in the ledger. Returns the answer."""
    try:
        return Status(take_report(engine, command.number(dimse.EVENT_TYPE), decode(data, transfer_syntax)))
    except ScanError as error:
        return Status(PROCESSING_FAILURE, str(error))
    except (SQLAlchemyError, ValueError, TypeError, AttributeError, KeyError) as error:
        log().error("a commitment report could not be taken", exc_info=error)
        return Status(PROCESSING_FAILURE, "the report could not be taken")
