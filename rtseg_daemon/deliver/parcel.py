"""What one delivery sends: files compared with their digests, the structure set as its destination wants it."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.filereader import read_file_meta_info
from sqlalchemy.orm import Session, object_session

from rtseg_daemon.config.sections import DestinationPeer
from rtseg_daemon.errors import StorageError, StructureSetError
from rtseg_daemon.gates import destination_file
from rtseg_daemon.ledger.schema import Delivery, Instance, Job
from rtseg_daemon.ledger.series import kept_instances, removed_uids
from rtseg_daemon.rtstruct.renamed import for_destination
from rtseg_daemon.storage import check_files
from rtseg_daemon.stored import Files, digested, image, result


@dataclass(frozen=True)
class Parcel:
    """What one delivery sends: the CT first where it is wanted, the structure set last."""

    delivery_id: int
    images: tuple[tuple[str, str, Path], ...]
    """(SOP class UID, SOP instance UID, file) of every image not yet accepted."""
    rtstruct: Path
    rtstruct_uid: tuple[str, str]

    def without(self, uids: Collection[str]) -> "Parcel":
        """The same without these images."""
        return replace(self, images=tuple(image for image in self.images if image[1] not in uids))

    @property
    def files(self) -> list[Path]:
        return [*(path for _, _, path in self.images), self.rtstruct]


def pack(delivery: Delivery, destination: DestinationPeer, files: Files) -> Parcel:
    """Which files this delivery still has to send, wherever they are stored.

    Raises StorageError if one is not as received or judged, StructureSetError if the destination's own file is wrong.
    """
    job, session = delivery.job, object_session(delivery)
    assert session is not None
    images = whole_ct(session, job, set(delivery.images_sent)) if destination.send_images else []
    found = digested(files, [image(one) for one in images])
    check_files(found, "have the series sent again, then retry the job")
    judged = digested(files, [result(job)])
    check_files(judged, f"`rtseg-daemon jobs rerun {job.id}`")
    rtstruct = own_file(judged[0][0], destination)
    parts = tuple((one.sop_class_uid, one.sop_instance_uid, path) for one, (path, _) in zip(images, found, strict=True))
    return Parcel(delivery.id, parts, rtstruct, identity(rtstruct))


def whole_ct(session: Session, job: Job, arrived: Collection[str]) -> list[Instance]:
    """A job's images but those that have arrived. Raises StorageError where retention has removed one of the others."""
    kept = kept_instances(session, job.series_id, up_to=job.last_instance_id)
    gone = removed_uids(session, job.series_id, up_to=job.last_instance_id)
    missing = gone - {one.sop_instance_uid for one in kept}.union(arrived)
    if missing:
        raise StorageError(
            f"images of job {job.id} were removed ({len(missing)}), and this destination gets the whole CT: fetch the "
            "study again, which makes a job of its own"
        )
    return [one for one in kept if one.sop_instance_uid not in arrived]


def own_file(judged: Path, destination: DestinationPeer) -> Path:
    """The structure set as this destination wants it. Raises StructureSetError if it is not what was judged."""
    path = for_destination(judged, destination)
    reasons = destination_file.deviations(judged, path, destination) if path != judged else []
    if reasons:
        raise StructureSetError(
            f"the file made for {destination.name} is not right and is not sent: {'; '.join(reasons)}"
        )
    return path


def identity(rtstruct: Path) -> tuple[str, str]:
    """(SOP class UID, SOP instance UID) of a file, from its meta information."""
    meta = read_file_meta_info(rtstruct)
    return str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID)
