"""A person explains a name of an ROI: one rule for the command, the page and its REST twin."""

from rtseg_daemon.feedback.mapping import explain
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.returned_views import name_shape
from rtseg_daemon.ledger.views import JsonObject
from rtseg_daemon.upkeep.deciding import Desk


def explain_name(desk: Desk, name: str, organ: str | None, why: str) -> JsonObject:
    """Say that `name` is `organ` (TG-263), or none of ours if None. Raises StateError where that cannot be meant."""
    with writing(desk.engine) as session:
        return name_shape(explain(session, name, organ, desk.who, why))
