"""Structure sets that came back as programs read them: the shapes of `feedback list|show --json`."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet, RoiName
from rtseg_daemon.ledger.returned import SUBJECT
from rtseg_daemon.ledger.views import JsonObject, Shown, event_shape, moment


def returned_shape(row: ReturnedSet, shown: Shown) -> JsonObject:
    """One set as `feedback list --json` shows it."""
    return {
        "id": row.id,
        "state": str(row.state),
        "approval": str(row.approval),
        "patient_id": row.patient_id,
        "series": row.series_id,
        "job": row.job_id,
        "label": row.label,
        "reasons": row.reasons,
        "rois": len(row.rois),
        "measured": sum(roi.difference is not None for roi in row.rois),
        "counting": sum(roi.counts for roi in row.rois),
        "superseded_by": row.superseded_by_id,
        "came_by": row.came_by,
        "calling_ae": row.calling_ae,
        "received_at": moment(row.received_at),
        "made_at": row.made_at or None,
        "approved_at": row.approved_at or None,
        "sop_instance_uid": row.sop_instance_uid,
        "study_instance_uid": row.study_instance_uid,
        "referenced_series": row.referenced_series,
        "path": shown(row.path, row.host) if row.path else None,
    }


def returned_detail(session: Session, row: ReturnedSet, shown: Shown) -> JsonObject:
    """One set as `feedback show --json` shows it: also its ROIs and what happened to it."""
    return returned_shape(row, shown) | {
        "contours": [roi_shape(roi) for roi in row.rois],
        "events": [event_shape(event) for event in events_of(session, SUBJECT, row.id)],
    }


def roi_shape(roi: ReturnedRoi) -> JsonObject:
    return {
        "number": roi.number,
        "name": roi.name,
        "organ": roi.organ,
        "named_by": roi.named_by,
        "contours": roi.contours,
        "counts": roi.counts,
        "ask": roi.ask,
        "job": roi.job_id,
        "difference": roi.difference,
        "reasons": roi.reasons,
    }


def name_shape(row: RoiName) -> JsonObject:
    """What a person said of a name, as `feedback map --json` shows it."""
    return {"name": row.name, "organ": row.organ, "who": row.who, "why": row.why, "at": moment(row.at)}


def names_said(session: Session) -> list[JsonObject]:
    """All of these, by name."""
    return [name_shape(row) for row in session.scalars(select(RoiName).order_by(func.lower(RoiName.name)))]
