"""The ledger's view of one object that lies on the disk."""

import time
from typing import Protocol

from rtseg_daemon.ledger.arrivals import Arrival
from rtseg_daemon.receive.examine import Examined
from rtseg_daemon.receive.sender import Sender


class Written(Protocol):
    """A file with an object, by whatever hand."""

    @property
    def sha256(self) -> str: ...

    @property
    def size(self) -> int: ...


def arrival_of(found: Examined, written: Written, sender: Sender, path: str = "", host: str = "") -> Arrival:
    """An object as it enters the ledger of `host` now. `path` is empty where it has no lasting name yet."""
    return Arrival(
        association_id=sender.association_id,
        sop_instance_uid=found.sop_instance_uid,
        sop_class_uid=found.sop_class_uid,
        series_instance_uid=found.series_uid,
        study_instance_uid=found.study_uid,
        patient_id=found.patient_id,
        modality=found.modality,
        calling_ae=sender.calling_ae,
        calling_host=sender.host,
        path=path,
        sha256=written.sha256,
        size=written.size,
        received_at=time.time(),
        identity_sha256=found.identity_sha256,
        identity_bytes_sha256=found.identity_bytes_sha256,
        geometry_sha256=found.geometry_sha256,
        body_part=found.body_part,
        description=found.description,
        host=host,
        facts=found.facts,
    )
