"""Contours that came back, made up for the delivered jobs of a ledger, with a drift from a job on."""

import random
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, insert, select

from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.states import Approval, JobState, ReturnedState

HOUR = 3600.0
DIRECTIONS = ("inferior", "superior", "anterior", "posterior", "right", "left")


def changed(chance: random.Random, volume_ml: float, larger_mm: float = 0.0) -> dict[str, Any]:
    """What a person changed of one organ, `larger_mm` all around beside what people usually do."""
    if chance.random() < 0.25 and not larger_mm:
        return left_alone(volume_ml)
    signed = chance.gauss(0.0, 0.3) + larger_mm
    rough = abs(chance.gauss(0.6, 0.25)) + abs(signed)
    radius = (volume_ml * 1000.0 / 4.19) ** (1 / 3)
    return {
        "dsc": round(max(0.05, 1.0 - 1.2 * rough / radius), 4),
        "surface_dsc_2mm": round(max(0.02, 1.0 - 0.25 * rough * chance.uniform(0.7, 1.3)), 4),
        "surface_dsc": round(max(0.02, 1.0 - 0.15 * rough * chance.uniform(0.7, 1.3)), 4),
        "tolerance_mm": 3.0,
        "added_path_mm": round(300.0 * rough * chance.uniform(0.6, 1.4), 1),
        "hd95_mm": round(2.2 * rough * chance.uniform(0.8, 1.2), 3),
        "mean_signed_distance_mm": round(signed, 4),
        "volume_ml": round(volume_ml * (1 + 3 * signed / radius), 3),
        "our_volume_ml": volume_ml,
        "untouched": round(chance.uniform(0.0, 0.6) if not larger_mm else 0.0, 3),
        "edited": {where: round(signed + chance.gauss(0.0, 0.4), 4) for where in DIRECTIONS},
        "untouched_whole": False,
    }


def left_alone(volume_ml: float) -> dict[str, Any]:
    return {
        "dsc": 1.0, "surface_dsc_2mm": 1.0, "surface_dsc": 1.0, "tolerance_mm": 3.0, "added_path_mm": 0.0,
        "hd95_mm": 0.0, "mean_signed_distance_mm": 0.0, "volume_ml": volume_ml, "our_volume_ml": volume_ml,
        "untouched": 1.0, "edited": dict.fromkeys(DIRECTIONS, 0.0), "untouched_whole": True,
    }  # fmt: skip


def come_back(engine: Engine, *, seed: int = 1, drift_from: int | None = None, organ: str = "", mm: float = 2.0) -> int:
    """Every delivered job's organs come back approved, an hour later. Returns how many sets.

    From job `drift_from` on people make `organ` larger by `mm`.
    """
    chance = random.Random(seed)
    with writing(engine) as session:
        query = select(Job, Series).join(Series, Series.id == Job.series_id).where(Job.state == JobState.DELIVERED)
        found = [(job, series) for job, series in session.execute(query.order_by(Job.id)) if job.rois]
        for number, (job, series) in enumerate(found, 1):
            session.execute(insert(ReturnedSet), [set_row(number, job, series)])
            drifted = drift_from is not None and job.id >= drift_from
            session.execute(insert(ReturnedRoi), list(roi_rows(chance, number, job, organ if drifted else "", mm)))
    return len(found)


def set_row(number: int, job: Job, series: Series) -> dict[str, Any]:
    at = job.updated_at + HOUR
    return {
        "id": number, "sop_instance_uid": f"2.25.9{number}", "sha256": f"{number:064d}", "size": 90_000,
        "path": f"returned/{number}.dcm", "series_instance_uid": f"2.25.8{number}",
        "study_instance_uid": series.study_instance_uid,
        "frame_of_reference_uid": "2.25.7", "referenced_series": [series.series_instance_uid],
        "patient_id": series.patient_id, "calling_ae": "TPS", "calling_host": "10.20.0.15", "came_by": "store",
        "received_at": at, "made_at": "", "label": "plan 1", "approval": Approval.APPROVED, "approved_at": "",
        "state": ReturnedState.MEASURED, "reasons": [], "series_id": series.id, "job_id": job.id,
        "superseded_by_id": None, "updated_at": at,
    }  # fmt: skip


def roi_rows(chance: random.Random, number: int, job: Job, organ: str, mm: float) -> Iterator[dict[str, Any]]:
    for k, roi in enumerate(job.rois, 1):
        name = str(roi["name"])
        yield {
            "set_id": number, "number": k, "name": name, "contours": 20, "organ": name, "named_by": "exact",
            "counts": True, "fit": True, "job_id": job.id,
            "difference": changed(chance, float(roi["volume_ml"]), mm if name == organ else 0.0),
            "reasons": [],
        }  # fmt: skip
