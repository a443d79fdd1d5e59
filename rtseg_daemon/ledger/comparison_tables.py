"""The ledger's table of contours that were measured against others of the same case: candidates', ours, approved."""

from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from rtseg_daemon.ledger.schema import Base


class MeasuredContours(Base):
    """The organs of one job against those of another job of the same case, or against a structure set that came back.

    One row per pair. It outlives the files.
    """

    __tablename__ = "measured_contours"
    __table_args__ = (Index("measured_of_job", "job_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    other_job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"))
    returned_set_id: Mapped[int | None] = mapped_column(ForeignKey("returned_set.id"))
    """What it was measured against: one of the two."""
    organs: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """TG-263 name -> what feedback/difference.py says, the job's contours being ours. A missed organ is there too."""
    trouble: Mapped[str] = mapped_column(default="")
    """Why nothing could be measured, empty where it was."""
    at: Mapped[float]
