"""What to do about an open series: one pure function from a look at it to a plan."""

from dataclasses import dataclass

from rtseg_daemon.assemble.completeness import WAIT, Decision, Next, Patience, completeness
from rtseg_daemon.assemble.look import Look
from rtseg_daemon.assemble.reconstructions import still_coming
from rtseg_daemon.assemble.routing import why_left_alone


@dataclass(frozen=True)
class Plan:
    """What to write about a series.

    Args:
        decision: whether it waits, or is closed as complete or held.
        left_alone: why it makes no job though it is closed, or nothing.
        jobs: the bundles of each job to make, several of one job with JOINER between them.
        hold_jobs: whether what was made of it is held, since newer slices have come.
        alarm: whether people are told that an image of it was refused.
    """

    decision: Decision = WAIT
    left_alone: str = ""
    jobs: tuple[str, ...] = ()
    hold_jobs: bool = False
    alarm: bool = False

    @property
    def closes(self) -> bool:
        return self.decision.next is not Next.WAIT

    @property
    def writes(self) -> bool:
        return self.closes or self.hold_jobs or self.alarm


def plan_for(look: Look, patience: Patience) -> Plan:
    """Wait, or close the series.

    A refused image is told first and alone: what comes after it may fail, for want of a bundle for instance, and the
    next sweep closes the series.
    """
    decision = completeness(look.facts, patience)
    if decision.next is Next.WAIT or still_coming(look.rivals, patience.quiet) or look.untold:
        return Plan(hold_jobs=bool(look.overtaken), alarm=look.untold)
    left_alone = why_left_alone(look.series_id, bool(look.facts.slices), look.route, look.rivals)
    jobs = look.route.jobs_for(look.patient) if look.route is not None and not left_alone else ()
    return Plan(decision, left_alone, jobs)
