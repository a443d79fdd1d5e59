"""Which cases may be learned from: approved contours that count, edited by a person, of patients who agreed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from rtseg_daemon.errors import ConfigError
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.series import kept_instances, partly_removed
from rtseg_daemon.stored import Stored, image, returned


@dataclass(frozen=True)
class Contour:
    """One approved contour that counts: the file and the number of its ROI, and whether it was left as we sent it."""

    organ: str
    file: Stored
    number: int
    untouched: bool


@dataclass(frozen=True)
class Wanted:
    """One case that may be learned from.

    Args:
        files: its images, empty where retention has removed any of them.
    """

    series_id: int
    series_uid: str
    patient_id: str
    files: tuple[Stored, ...]
    contours: tuple[Contour, ...]

    @property
    def untouched(self) -> list[str]:
        return sorted(one.organ for one in self.contours if one.untouched)

    @property
    def state(self) -> str:
        """The same for the same contours."""
        return repr(sorted((one.organ, one.file.sha256, one.number, one.untouched) for one in self.contours))


def consenting(path: Path | None) -> frozenset[str] | None:
    """The PatientIDs of a list, one a line, `#` before a remark. None where no list is asked for.

    Raises ConfigError where it cannot be read: nobody's silence is consent.
    """
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"feedback.only: {path} cannot be read ({error}); nobody is exported without it") from error
    return frozenset(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def wanted(session: Session, only: Collection[str] | None) -> tuple[list[Wanted], list[str]]:
    """The cases, and a line for each case that is left out and why. No line names a patient."""
    counting = select(ReturnedRoi.set_id).where(ReturnedRoi.counts, ReturnedRoi.organ.is_not(None))
    query = (
        select(ReturnedSet)
        .options(joinedload(ReturnedSet.series))
        .where(ReturnedSet.id.in_(counting), ReturnedSet.series_id.is_not(None))
        .order_by(ReturnedSet.series_id, ReturnedSet.id)
    )
    by_series: dict[int, list[ReturnedSet]] = {}
    for row in session.scalars(query):
        by_series.setdefault(row.series_id or 0, []).append(row)
    found, left_out = [], []
    for series_id, rows in by_series.items():
        reason = why_not(rows, only)
        if reason:
            left_out.append(f"series {series_id}: {reason}")
        else:
            found.append(case_of(session, rows))
    return found, left_out


def why_not(rows: Sequence[ReturnedSet], only: Collection[str] | None) -> str:
    """Why a case may not be learned from, empty where it may."""
    series = rows[0].series
    assert series is not None
    if not series.releasable:
        return f"whose images these are is in doubt: {'; '.join(series.reasons)}"
    if only is not None and series.patient_id not in only:
        return "its patient is not on the consent list"
    if all(is_untouched(roi) for row in rows for roi in row.rois if roi.counts):
        return "every contour was left as it was sent: no person edited any"
    return ""


def is_untouched(roi: ReturnedRoi) -> bool:
    """Whether a contour was left as we sent it. One that we did not draw was drawn by a person."""
    return bool((roi.difference or {}).get("untouched_whole"))


def case_of(session: Session, rows: Sequence[ReturnedSet]) -> Wanted:
    """One case with its files."""
    series = rows[0].series
    assert series is not None
    job = rows[0].job
    up_to = job.last_instance_id if job is not None else None
    instances = kept_instances(session, series.id, up_to=up_to)
    if up_to is not None and session.scalar(select(partly_removed(series.id, up_to))):
        instances = ()  # half a CT is none to learn from
    contours = [
        Contour(str(roi.organ), returned(row), roi.number, is_untouched(roi))
        for row in rows
        for roi in row.rois
        if roi.counts and roi.organ is not None
    ]
    return Wanted(
        series.id,
        series.series_instance_uid,
        series.patient_id,
        tuple(image(one) for one in instances),
        tuple(contours),
    )
