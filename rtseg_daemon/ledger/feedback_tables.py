"""The ledger's tables of what came back: structure sets, their ROIs, names a person explained, grids of CTs."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, UniqueConstraint, false, true
from sqlalchemy.orm import Mapped, mapped_column, relationship

from rtseg_daemon.ledger.schema import Base, Job, Series
from rtseg_daemon.ledger.states import Approval, ReturnedState


class ReturnedSet(Base):
    """One structure set that a planning system sent back, or that was fetched from one. Never changed, never removed
    before `feedback.days`. The same UID with other bytes is a further row."""

    __tablename__ = "returned_set"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "sha256", name="one_row_per_returned_object"),
        Index("returned_by_state", "state", "id"),
        Index("returned_of_series", "series_id", "id"),
        Index("returned_of_job", "job_id"),
        Index("returned_by_time", "updated_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[str]
    sha256: Mapped[str]
    """Of the file."""
    path: Mapped[str]
    size: Mapped[int]
    series_instance_uid: Mapped[str] = mapped_column(default="")
    """Of the structure set itself. The CT's are in `referenced_series`."""
    study_instance_uid: Mapped[str] = mapped_column(default="", index=True)
    frame_of_reference_uid: Mapped[str] = mapped_column(default="")
    referenced_series: Mapped[list[str]] = mapped_column(default=list)
    """Series Instance UIDs of the images that it says it was drawn on."""
    patient_id: Mapped[str] = mapped_column(default="")
    calling_ae: Mapped[str]
    """Who sent it, or the name of the query peer that it was fetched from."""
    calling_host: Mapped[str]
    came_by: Mapped[str]
    """store or poll."""
    host: Mapped[str] = mapped_column(default="")
    """Which of several hosts has its file, and looks into it. Empty where there is one."""
    received_at: Mapped[float]
    made_at: Mapped[str] = mapped_column(default="")
    """StructureSetDate and Time as the file says them, by a clock that may be years off: `20261127 153846`."""
    label: Mapped[str] = mapped_column(default="")
    approval: Mapped[Approval] = mapped_column(default=Approval.UNAPPROVED)
    approved_at: Mapped[str] = mapped_column(default="")
    """ReviewDate and Time, as `made_at`."""
    state: Mapped[ReturnedState] = mapped_column(default=ReturnedState.RECEIVED)
    reasons: Mapped[list[str]] = mapped_column(default=list)
    series_id: Mapped[int | None] = mapped_column(ForeignKey("series.id"))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))
    """The result of ours that it answers. Of a series with several bundles: the one with most of its organs. Each ROI
    says which result has its own."""
    superseded_by_id: Mapped[int | None] = mapped_column(ForeignKey("returned_set.id"))
    """A newer APPROVED set of the same case that has every organ of this one."""
    updated_at: Mapped[float]

    rois: Mapped[list["ReturnedRoi"]] = relationship(back_populates="returned", order_by="ReturnedRoi.number")
    series: Mapped[Series | None] = relationship()
    job: Mapped[Job | None] = relationship()


class ReturnedRoi(Base):
    """One ROI of a structure set that came back."""

    __tablename__ = "returned_roi"
    __table_args__ = (Index("returned_roi_of_set", "set_id"), Index("returned_roi_that_counts", "organ", "counts"))

    id: Mapped[int] = mapped_column(primary_key=True)
    set_id: Mapped[int] = mapped_column(ForeignKey("returned_set.id"))
    number: Mapped[int]
    """ROINumber."""
    name: Mapped[str]
    contours: Mapped[int] = mapped_column(default=0)
    """How many it has."""
    organ: Mapped[str | None]
    """TG-263 name, or None: not known, or not one of ours."""
    named_by: Mapped[str | None]
    """How the organ is known: destination, synonym, exact or person. With a person's word and no organ: not ours."""
    fit: Mapped[bool] = mapped_column(default=True, server_default=true())
    """False where its contours do not lie on the slices as contours of this CT do: it can never count."""
    counts: Mapped[bool] = mapped_column(default=False)
    """Whether this is the case's contour of its organ: of the newest APPROVED set of the case that has the organ.
    Charts, coverage and training read these alone."""
    ask: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether a person is to say what its name means."""
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))
    """The result of ours that has this organ and that the contour is compared with. None: no result of ours has it."""
    difference: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What was changed of ours, as feedback/difference.py measures it. None until then."""
    reasons: Mapped[list[str]] = mapped_column(default=list)
    """Why it cannot be measured, or what was odd about it."""

    returned: Mapped[ReturnedSet] = relationship(back_populates="rois")


class RoiName(Base):
    """What a person said a name of an ROI means, for the whole site."""

    __tablename__ = "roi_name"

    key: Mapped[str] = mapped_column(primary_key=True)
    """The name as names are compared: without case, blanks and marks."""
    name: Mapped[str]
    """As it was received."""
    organ: Mapped[str | None]
    """TG-263 name, or None: not one of ours."""
    who: Mapped[str]
    why: Mapped[str]
    at: Mapped[float]


class SeriesGeometry(Base):
    """The grid of a CT that was contoured: what came back is measured on it when the images are removed."""

    __tablename__ = "series_geometry"

    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), primary_key=True)
    last_instance_id: Mapped[int] = mapped_column(primary_key=True)
    """The newest instance that belongs to it, as in a job."""
    geometry: Mapped[dict[str, Any]]
    """origin, spacing (x, y, z in mm), shape (z, y, x), directions, sop_instance_uids inferior to superior, z in mm."""
