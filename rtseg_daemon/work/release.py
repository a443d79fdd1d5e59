"""A release of a structure set that is stored already: it leaves only with the note that a person let it go."""

import hashlib
from pathlib import PurePosixPath

from sqlalchemy import Engine

from rtseg_daemon.anatomy.organ import RELEASED, let_go
from rtseg_daemon.anatomy.organ_line import whole_roi
from rtseg_daemon.errors import StructureSetError
from rtseg_daemon.gates import destination_file
from rtseg_daemon.ledger.decisions import Marked
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.rtstruct.released import mark_released
from rtseg_daemon.storage import check_files
from rtseg_daemon.stored import Files, digested, result


def marked_structure_set(engine: Engine, files: Files, job_id: int) -> Marked | None:
    """The marked copy of a HELD job's stored structure set, for `decisions.release`, or None where none is stored.

    It lies where the stored one is at home. Raises StorageError where the stored file is damaged, StructureSetError
    where it cannot be marked, HostAway where another host has it and does not answer.
    """
    with reading(engine) as session:
        job = session.get(Job, job_id)
        if job is None or job.rtstruct_path is None or not may_go(job):
            return None
        held, home, token, why = result(job), job.host, job.lease_token, job.error or "held"
        rois = [dict(roi) for roi in job.rois]
    ((stored, digest),) = digested(files, [held])
    check_files([(stored, digest)], f"`rtseg-daemon jobs rerun {job_id}`")
    path, uid = mark_released(stored, why)
    if reasons := destination_file.altered(stored, path):
        raise StructureSetError(f"the marked structure set of job {job_id} is not right: {'; '.join(reasons)}")
    if not files.keeps(home):
        files.bring(home, job_id, token, [path])
    for roi in rois:
        comment = let_go(roi["comment"], why)
        reasons = [f"{RELEASED}{why}", *whole_roi(roi)["reasons"]]
        roi.update(comment=comment, flag=comment.split(" ")[0], predicted_dice=None, interval=None, reasons=reasons)
    return Marked(
        of=digest,
        rtstruct_path=str(PurePosixPath(held.path).with_name(path.name)),
        rtstruct_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        rtstruct_sop_instance_uid=uid,
        rois=rois,
        flags={roi["name"]: roi["flag"] for roi in rois},
    )


def may_go(job: Job) -> bool:
    """Whether a release is possible. Why it is not, `decisions.release` says."""
    return job.state is JobState.HELD and job.releasable and job.series.releasable
