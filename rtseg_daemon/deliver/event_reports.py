"""Reports of storage commitment that a destination brings on an association of its own (PS3.4, J.3.3)."""

from io import BytesIO

from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import decode
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.deliver.commitment import take_report
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.dimse import Command, Status
from rtseg_daemon.dicom.scan import ScanError, scan
from rtseg_daemon.logs import log

PROCESSING_FAILURE = 0x0110


def take_event_report(engine: Engine, command: Command, data: bytes, transfer_syntax: str) -> Status:
    """Enter one report in the ledger; returns the answer."""
    try:
        scan(memoryview(data), transfer_syntax, ())
        implicit, big = transfer_syntax == ImplicitVRLittleEndian, transfer_syntax == ExplicitVRBigEndian
        report = decode(BytesIO(data), implicit, not big)
        return Status(take_report(engine, command.number(dimse.EVENT_TYPE), report))
    except ScanError as error:
        return Status(PROCESSING_FAILURE, str(error))
    except (SQLAlchemyError, ValueError, TypeError, AttributeError, KeyError) as error:
        log().error("a commitment report could not be taken", exc_info=error)
        return Status(PROCESSING_FAILURE, "the report could not be taken")
