"""Series on their way, as a person sees them: how much has come, and what is lacking so far."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from rtseg_daemon.assemble.completeness import Slice, breakage, irregularity
from rtseg_daemon.assemble.look import along_stack, brought_by, carriers_of, is_axial
from rtseg_daemon.ledger.refusals import refused_images
from rtseg_daemon.ledger.schema import Series
from rtseg_daemon.ledger.series import kept_instances, open_series
from rtseg_daemon.ledger.states import Ending

MOST = 25
"""So many series are looked at slice by slice, the oldest. There are seldom more than a few."""


@dataclass(frozen=True)
class Arriving:
    """An OPEN series.

    Args:
        received: images so far.
        expected: how many the PACS has, None where nobody asked it.
        sending: whether an association that carries it is open.
        lacking: what is not there yet, in words, empty where the slices are a gapless stack.
    """

    series_id: int
    patient_id: str
    calling_ae: str
    description: str
    received: int
    expected: int | None
    first_at: float
    last_at: float
    sending: bool
    lacking: tuple[str, ...]


def arriving(session: Session) -> Sequence[Arriving]:
    """The OPEN series, oldest first, at most MOST of them."""
    return [arriving_series(session, series) for series in open_series(session)[:MOST]]


def arriving_series(session: Session, series: Series) -> Arriving:
    """One of them. Its slices are read from the ledger alone."""
    instances = kept_instances(session, series.id)
    carriers = carriers_of(session, series)
    refused = refused_images(session, series)
    lacking = (
        irregularity([Slice(along_stack(one)) for one in instances if is_axial(one)]),
        breakage(carriers, brought_by(instances)),
        f"{refused} refused" if refused else "",
    )
    return Arriving(
        series.id,
        series.patient_id,
        series.calling_ae,
        series.description,
        len(instances),
        series.expected_count,
        series.first_received_at,
        series.last_received_at,
        any(one.ending is Ending.OPEN for one in carriers),
        tuple(filter(None, lacking)),
    )
