"""Which contours count as truth: what a person approved first, and of programs only what a person approved. Pure."""

import re
from dataclasses import dataclass

from rtseg_daemon.rtstruct.equipment import PRODUCT
from rtseg_daemon.rtstruct.reading import Structure

APPROVED, UNAPPROVED, REJECTED = "APPROVED", "UNAPPROVED", "REJECTED"
"""ApprovalStatus (PS3.3 C.8.8.16.2)."""

OUR_COMMENT = re.compile(r"(OK|REVIEW|REJECT) vvc=")
"""How the daemon's comment on an organ begins. Planning systems keep it when they write the set anew."""


@dataclass(frozen=True)
class Origin:
    """What a structure set says of itself.

    Args:
        called: what the report calls its file.
        approval: ApprovalStatus. UNAPPROVED where the file does not say, or says nonsense.
        made_by: manufacturer and model.
        written: date and time as digits, so that they sort.
        sop_instance_uid: its own identifier.
    """

    called: str
    approval: str
    made_by: str
    written: str
    sop_instance_uid: str = ""

    @property
    def ours(self) -> bool:
        """Whether the daemon wrote the file."""
        return PRODUCT in self.made_by

    @property
    def words(self) -> str:
        """The file, its status, its date in a note."""
        return f"{self.called} ({self.approval}{', ' + self.written[:8] if self.written else ''})"


def approval_of(stated: str) -> str:
    """ApprovalStatus as it counts."""
    known = stated.strip().upper()
    return known if known in (APPROVED, REJECTED) else UNAPPROVED


def refusal(origin: Origin, structure: Structure, any_status: bool = False) -> str:
    """Why an ROI is no truth, empty if it is. `any_status` lets a program's contours pass that nobody approved."""
    if origin.approval == REJECTED:
        return "the structure set is REJECTED"
    if origin.approval == APPROVED or any_status:
        return ""
    if origin.ours or OUR_COMMENT.match(structure.description):
        return "the daemon drew it and no person approved it"
    return "a program drew it (AUTOMATIC) and no person approved it" if structure.generation == "AUTOMATIC" else ""


Rank = tuple[bool, bool, str, bool, str]


def rank(origin: Origin, structure: Structure, name: str) -> Rank:
    """What is taken before what: drawn, approved, newer, spelled as TG-263 does, and at last by identifier."""
    exact = structure.name == name
    return bool(structure.contours), origin.approval == APPROVED, origin.written, exact, origin.sop_instance_uid


def why(taken: Rank, left: Rank) -> str:
    """By what one contour was taken before the other, in words."""
    reasons = ("it has contours", "approved before unapproved", "the newer one", "the exact TG-263 name")
    for reason, mine, other in zip(reasons, taken, left, strict=False):
        if mine != other:
            return reason
    return "alike in all, the last by its identifier"
