"""Pictures of cases that two bundles contour differently: where their contours of one organ lie farthest apart.

They show a patient's CT and name nobody. This module loads matplotlib.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sqlalchemy import select
from sqlalchemy.orm import Session

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.ct.preconditions import RELEASABLE
from rtseg_daemon.ct.series import CtSeries, load_series
from rtseg_daemon.errors import RtsegError
from rtseg_daemon.feedback.candidates import Due, Plan, approved, planned
from rtseg_daemon.feedback.compare import our_result
from rtseg_daemon.feedback.contours import Drawn
from rtseg_daemon.feedback.looking import Desk
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi, ReturnedSet
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.series import kept_instances
from rtseg_daemon.ledger.views import JsonObject
from rtseg_daemon.rtstruct.reading import boxed
from rtseg_daemon.storage import write_durably
from rtseg_daemon.stored import image
from rtseg_daemon.work.cuts import Cut, axial, framed, long_plane
from rtseg_daemon.work.planes import show_contour, show_letters, show_pixels, window_of

Colour = tuple[float, float, float]
COLOURS: dict[str, Colour] = {"A": (0.35, 0.7, 1.0), "B": (1.0, 0.62, 0.2), "approved": (0.45, 0.9, 0.5)}
BACK, INK = "#101418", "#e8eaed"
PANEL_IN, HEAD_IN = 4.0, 0.6


@dataclass(frozen=True)
class Shown:
    """One case as it is drawn: its CT, and an organ by each of those who drew it."""

    ct: Volume
    organs: dict[str, Organ]
    apart: Organ
    """What A and B do not have in common."""


def draw_all(desk: Desk, comparison: JsonObject, folder: Path) -> list[JsonObject]:
    """A PNG in `folder` for each case that differs most: its series, its path, or why there is none."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [drawn(desk, place, case, folder) for place, case in enumerate(comparison["most_different"], 1)]


def drawn(desk: Desk, place: int, case: JsonObject, folder: Path) -> JsonObject:
    """One of them. Its images may be gone."""
    told: JsonObject = {"series": case["series"], "organ": case["organ"], "path": None, "why_not": None}
    try:
        shown = shown_case(desk, case)
    except RtsegError as error:
        return told | {"why_not": str(error)}
    path = folder / f"{place:02d}-series-{case['series']}-{case['organ']}.png"
    write_durably(path, picture(shown, case), mode=0o600)
    return told | {"path": str(path)}


def shown_case(desk: Desk, case: JsonObject) -> Shown:
    """What is drawn of a case. Raises SeriesError, StructureSetError where its images or contours are gone."""
    organ = str(case["organ"])
    with writing(desk.engine) as session:
        plan = planned(desk, session, Due(case["job_a"], other_job_id=case["job_b"]))
        returned = approved_plan(desk, session, case["job_a"], organ)
        job = session.get_one(Job, case["job_a"])
        images = kept_instances(session, job.series_id, up_to=job.last_instance_id)
        stored = [image(one) for one in images]
    series = load_series(desk.files.at_hand(stored), allow=RELEASABLE)
    ours = our_result(*desk.file(plan.file), plan.geometry)
    drawn = {"A": ours.organ(organ), "B": our_result(*desk.file(plan.other), plan.geometry).organ(organ)}
    if returned is not None:
        drawn["approved"] = dict(approved(desk, returned, ours.geometry)).get(organ)
    return arranged(series, organ, drawn)


def approved_plan(desk: Desk, session: Session, job_id: int, organ: str) -> Plan | None:
    """Where the approved contour of an organ is, or None."""
    query = (
        select(ReturnedSet.id)
        .join(ReturnedRoi, ReturnedRoi.set_id == ReturnedSet.id)
        .join(Job, Job.series_id == ReturnedSet.series_id)
        .where(Job.id == job_id, ReturnedRoi.counts, ReturnedRoi.organ == organ)
    )
    set_id = session.scalars(query.limit(1)).first()
    return None if set_id is None else planned(desk, session, Due(job_id, returned_set_id=set_id))


def arranged(series: CtSeries, organ: str, drawn: dict[str, Drawn | None]) -> Shown:
    """The organs in their boxes."""
    ct = series.volume
    masks = {who: np.zeros(ct.shape, bool) if one is None else one.mask for who, one in drawn.items()}
    organs = {who: boxed(organ, mask, ct) for who, mask in masks.items()}
    return Shown(ct, organs, boxed(organ, masks["A"] ^ masks["B"], ct))


def picture(shown: Shown, case: JsonObject) -> bytes:
    """The PNG: the axial slice with most of the difference, and a plane lengthwise through it."""
    cuts = cuts_of(shown)
    figure = Figure(figsize=(PANEL_IN * len(cuts), PANEL_IN + HEAD_IN), facecolor=BACK, dpi=100)
    title = f"{case['organ']}, series {case['series']}: surface Dice {case['surface_dsc']:.2f}"
    figure.text(0.01, 0.985, title, va="top", color=INK, fontsize=11, weight="bold")
    for place, who in enumerate(shown.organs):
        found = "" if shown.organs[who].found else " (not found)"
        figure.text(0.01 + 0.2 * place, 0.92, who + found, va="top", color=COLOURS[who], fontsize=10, weight="bold")
    height = PANEL_IN / (PANEL_IN + HEAD_IN)
    for place, cut in enumerate(cuts):
        axes = figure.add_axes((place / len(cuts), 0, 1 / len(cuts), height))
        show_pixels(axes, shown.ct, cut, window_of(shown.organs["A"], shown.ct))
        for who, organ in shown.organs.items():
            show_contour(axes, organ, cut, shown.ct, COLOURS[who], 1.5, dashed=who == "approved")
        show_letters(axes, cut.axis)
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=BACK)
    return buffer.getvalue()


def cuts_of(shown: Shown) -> tuple[Cut, ...]:
    """The planes that show most of the difference. None where there is none."""
    box, mask, spacing = shown.apart.box, shown.apart.mask, shown.ct.spacing_mm
    if box is None or mask is None:
        return ()
    most = box.start[0] + int(mask.sum(axis=(1, 2)).argmax())
    axis, index = long_plane(mask, mask.astype(np.float32), spacing)
    return axial(shown.apart, most, spacing), framed(box, axis, box.start[axis] + index, spacing)
