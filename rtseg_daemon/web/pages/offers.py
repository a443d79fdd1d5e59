"""What a person may be offered to do: each action's name, question and role, and which of them fit a job."""

from dataclasses import dataclass

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger.schema import Delivery, Job
from rtseg_daemon.ledger.states import JOB_TRANSITIONS, DeliveryState, JobState


@dataclass(frozen=True)
class Action:
    """One thing that a person may do.

    Args:
        title: what the page and the button say.
        asks: what will happen.
        done: what the case's page says afterwards.
        why: whether a reason is asked for: `needed`, `welcome`, or nothing.
        role: who may.
    """

    name: str
    title: str
    asks: str
    done: str
    why: str = "welcome"
    role: Role = Role.OPERATOR


RELEASE = Action(
    "release",
    "Release",
    "The job goes on although a gate holds it. You answer for it with your name and reason. They stand in its events, "
    "and what is sent says on every organ that a person released it.",
    "released",
    "needed",
    Role.PHYSICIST,
)
RETRY = Action(
    "retry",
    "Retry",
    "The failed job is taken up again: only its delivery, if its structure set is stored.",
    "taken up again",
)
RERUN = Action("rerun", "Run again", "A new job is made for the same images. This one stays as it is.", "made")
CANCEL = Action("cancel", "Cancel", "The job ends here. What was not sent yet is not sent.", "cancelled")
REVIEW = Action(
    "review", "Mark as reviewed", "The job leaves the worklist. Your name stands in its events.", "marked as reviewed"
)
OF_JOBS = {one.name: one for one in (RELEASE, RETRY, RERUN, CANCEL, REVIEW)}
SEND_AGAIN = Action(
    "retry", "Send again", "The structure set is sent to this destination again now.", "to be sent again"
)
ACKNOWLEDGE = Action(
    "acknowledge", "Acknowledge", "The alarm is sent no more. Your name stands beside it.", "acknowledged"
)


def offered(job: Job) -> list[Action]:
    """What the page of a job offers. Whether it is possible is decided again when it is done."""
    fits = {
        RELEASE: job.state is JobState.HELD and job.releasable and job.series.releasable and not job.shadow,
        RETRY: job.state is JobState.FAILED,
        REVIEW: "REJECT" in job.flags.values() and not job.shadow,
        RERUN: not job.shadow,
        CANCEL: JobState.CANCELLED in JOB_TRANSITIONS[job.state],
    }
    return [action for action, fit in fits.items() if fit]


def may_send_again(delivery: Delivery) -> bool:
    """Whether a delivery could be sent again now."""
    return delivery.state in (DeliveryState.FAILED, DeliveryState.WAITING)
