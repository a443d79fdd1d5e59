"""What is known of whoever is sending on one association."""

from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from rtseg_daemon.ledger import associations, refusals
from rtseg_daemon.ledger.reception import Recorded

NOTE_SECONDS = 1.0


MOST_REFUSED = 1000


@dataclass
class Sender:
    """Who sends on one association. Its row in the ledger is made with its first object.

    `brought`: when it last brought something of each series (by the ledger's number), `noted`: which of these moments
    the ledger knows. `refused`: images (series, instance) that are not kept and of which the ledger does not know yet,
    unknown names empty. `uncounted`: whether there were more of these than are remembered here. `feedback`: whether its
    structure sets are kept.
    """

    calling_ae: str
    host: str
    association_id: int | None = None
    uncounted: bool = False
    refused: list[tuple[str, str]] = field(default_factory=list)
    brought: dict[int, float] = field(default_factory=dict)
    noted: dict[int, float] = field(default_factory=dict)
    feedback: bool = False

    def remember(self, recorded: Recorded, noted: bool) -> None:
        """After the commit, so that nothing is believed that was rolled back."""
        self.association_id = recorded.arrival.association_id
        self.brought[recorded.series_id] = recorded.arrival.received_at
        if noted:
            self.noted[recorded.series_id] = recorded.arrival.received_at

    def due(self, series_id: int, moment: float) -> bool:
        """Whether the ledger should be told again that something of the series came."""
        return abs(moment - self.noted[series_id]) >= NOTE_SECONDS


def enter_refusals(session: Session, sender: Sender, host: str = "") -> int:
    """Enter what this association, which `host` accepted, did not get kept.

    Returns the association's row, made where there is none yet.
    """
    association_id = sender.association_id
    if association_id is None:
        association_id = associations.open_association(session, sender.calling_ae, sender.host, host=host)
    for series_uid, sop_uid in sender.refused:
        refusals.note_refusal(session, association_id, series_uid, sop_uid)
    return association_id
