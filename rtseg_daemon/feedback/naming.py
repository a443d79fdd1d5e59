"""The ROIs of a returned set in the ledger: entered once, named as often as somebody says something new."""

from collections.abc import Iterable, Sequence

from sqlalchemy import delete
from sqlalchemy.orm import Session

from rtseg_daemon.config.file import Config
from rtseg_daemon.feedback.answered import Answer
from rtseg_daemon.feedback.known import people_say
from rtseg_daemon.feedback.names import Named, Roi, key_of, named
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.rtstruct.reading import Structure


def enter_rois(session: Session, row: ReturnedSet, structures: Sequence[Structure]) -> None:
    """A row for each ROI of the file, in place of those that were there."""
    session.execute(delete(ReturnedRoi).where(ReturnedRoi.set_id == row.id))
    for one in structures:
        reasons = [text for text in (one.fault, one.partly) if text]
        roi = ReturnedRoi(set_id=row.id, number=one.number, name=one.name, contours=len(one.contours), reasons=reasons)
        session.add(roi)
    session.flush()
    session.expire(row, ["rois"])


def name_rois(session: Session, config: Config, row: ReturnedSet, answer: Answer) -> list[Named]:
    """Say of each ROI which organ it is and which result of ours has that. What was measured of another is dropped."""
    rois = [Roi(one.id, one.name, one.contours) for one in row.rois]
    words = people_say(session, sorted({key_of(one.name) for one in rois}))
    told = set().union(*(one.destinations for one in answer.jobs.values()))
    destinations = [one for one in config.destinations if one.name in told]
    found = named(rois, answer.jobs.keys(), destinations, words)
    for roi, one in zip(row.rois, found, strict=True):
        answering = answer.jobs.get(one.organ or "")
        job_id = answering.job_id if answering else None
        if (roi.organ, roi.job_id) != (one.organ, job_id):
            roi.difference, roi.fit = None, True
        roi.organ, roi.named_by, roi.job_id = one.organ, one.named_by, job_id
    main = answer.main(organs_of(found))
    row.job_id = main.job_id if main else None
    session.flush()
    return found


def organs_of(found: Iterable[Named]) -> list[str]:
    return [one.organ for one in found if one.organ is not None]
