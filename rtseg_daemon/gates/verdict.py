"""What a gate says, and how single findings become one verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing a gate noticed. A `note` is worth a line and changes nothing."""

    weight: Literal["note", "flag", "hold"]
    reason: str
    releasable: bool = True


@dataclass(frozen=True)
class Verdict:
    """pass, flag (reviewers see the reasons) or hold (a person decides, and nobody may where not `releasable`).

    `doubts` are the reasons without mere notes: what a reviewer of the contours must know.
    """

    verdict: Literal["pass", "flag", "hold"]
    reasons: tuple[str, ...] = ()
    releasable: bool = True
    doubts: tuple[str, ...] = ()


PASS = Verdict("pass")


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """The gravest finding decides. Reasons to hold come first."""
    ordered = sorted(findings, key=lambda finding: ["hold", "flag", "note"].index(finding.weight))
    reasons = tuple(dict.fromkeys(finding.reason for finding in ordered))
    doubts = tuple(dict.fromkeys(finding.reason for finding in ordered if finding.weight != "note"))
    holds = [finding for finding in ordered if finding.weight == "hold"]
    if holds:
        return Verdict("hold", reasons, all(finding.releasable for finding in holds), doubts)
    return Verdict("flag" if doubts else "pass", reasons, doubts=doubts)


def gravest(verdicts: Sequence[Verdict]) -> Verdict:
    """What several bundles' gates say of one series: every reason once, the gravest word. One hold is enough."""
    order = ["hold", "flag", "pass"]
    ordered = sorted(verdicts, key=lambda verdict: order.index(verdict.verdict))
    reasons = tuple(dict.fromkeys(reason for verdict in ordered for reason in verdict.reasons))
    return Verdict(ordered[0].verdict, reasons, all(verdict.releasable for verdict in verdicts))
