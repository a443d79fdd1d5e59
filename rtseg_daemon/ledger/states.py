"""Every state there is, and which may follow which. The tables here are the only place that says so."""

from enum import StrEnum


class JobState(StrEnum):
    """Where one job (a series, a bundle, a run) stands."""

    QUEUED = "QUEUED"  # waits for a worker
    RUNNING = "RUNNING"  # a worker holds its lease
    SEGMENTED = "SEGMENTED"  # the RTSTRUCT is stored; nothing has been sent
    DELIVERING = "DELIVERING"  # at least one destination still lacks it
    DELIVERED = "DELIVERED"  # every destination of the route has it
    HELD = "HELD"  # a gate stopped it; a person decides
    FAILED = "FAILED"  # gave up, with the reason; a person may retry
    CANCELLED = "CANCELLED"  # a person, or a newer job for the same series, ended it


J = JobState
JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    J.QUEUED: frozenset({J.RUNNING, J.HELD, J.FAILED, J.CANCELLED}),
    J.RUNNING: frozenset({J.QUEUED, J.SEGMENTED, J.HELD, J.FAILED, J.CANCELLED}),
    J.SEGMENTED: frozenset({J.DELIVERING, J.HELD, J.FAILED, J.CANCELLED}),
    J.DELIVERING: frozenset({J.DELIVERED, J.FAILED, J.HELD, J.CANCELLED}),
    J.DELIVERED: frozenset(),
    J.HELD: frozenset({J.QUEUED, J.SEGMENTED, J.CANCELLED}),
    J.FAILED: frozenset({J.QUEUED, J.DELIVERING, J.CANCELLED}),
    J.CANCELLED: frozenset(),
}

SENDABLE = (J.SEGMENTED, J.DELIVERING)
"""Job states in which its structure set may be sent."""

UNFINISHED = (J.QUEUED, J.RUNNING)
"""Job states in which a worker has not ended it."""

UNDELIVERED = (J.QUEUED, J.RUNNING, J.SEGMENTED, J.DELIVERING, J.HELD)
"""Job states in which something is still to come. A conflict in the series stops these, retention spares them."""


class SeriesState(StrEnum):
    """Where the reception of one series stands."""

    OPEN = "OPEN"  # slices may still come
    COMPLETE = "COMPLETE"  # complete and quiet; its route's jobs exist
    HELD = "HELD"  # a gap, an abandoned transfer or a conflict; the reasons stand beside it
    UNROUTED = "UNROUTED"  # complete, but no route matches: kept, listed, not processed
    REMOVED = "REMOVED"  # retention deleted its files


S = SeriesState
SERIES_TRANSITIONS: dict[SeriesState, frozenset[SeriesState]] = {
    S.OPEN: frozenset({S.COMPLETE, S.HELD, S.UNROUTED}),
    S.COMPLETE: frozenset({S.OPEN, S.HELD, S.REMOVED}),
    S.HELD: frozenset({S.OPEN, S.COMPLETE, S.REMOVED}),
    S.UNROUTED: frozenset({S.OPEN, S.HELD, S.REMOVED}),
    S.REMOVED: frozenset({S.OPEN, S.HELD}),
}


class InstanceState(StrEnum):
    """What became of one received object."""

    KEPT = "KEPT"  # on disk, part of its series
    QUARANTINED = "QUARANTINED"  # on disk in quarantine/: the same UID came with other content
    REMOVED = "REMOVED"  # retention deleted the file


class Ending(StrEnum):
    """How an incoming association ended."""

    OPEN = "OPEN"  # still there
    RELEASED = "RELEASED"  # the peer released it
    IDLE = "IDLE"  # cut off here after a long silence between two messages
    ABORTED = "ABORTED"  # aborted by either side, or the connection was lost
    DIED = "DIED"  # was open when the receiver died


class DeliveryState(StrEnum):
    """Where one RTSTRUCT stands on its way to one destination."""

    WAITING = "WAITING"  # to be sent when its next attempt is due
    SENDING = "SENDING"  # on the wire now
    SENT = "SENT"  # the destination answered success or a warning
    COMMITTED = "COMMITTED"  # the destination took responsibility for it (storage commitment)
    FAILED = "FAILED"  # refused for good, or given up
    CANCELLED = "CANCELLED"  # its job was cancelled or held before it was sent


D = DeliveryState
DELIVERY_TRANSITIONS: dict[DeliveryState, frozenset[DeliveryState]] = {
    D.WAITING: frozenset({D.SENDING, D.CANCELLED, D.FAILED}),
    D.SENDING: frozenset({D.WAITING, D.SENT, D.FAILED, D.CANCELLED}),
    D.SENT: frozenset({D.COMMITTED, D.WAITING}),
    D.COMMITTED: frozenset(),
    D.FAILED: frozenset({D.WAITING, D.CANCELLED}),
    D.CANCELLED: frozenset({D.WAITING}),
}

ARRIVED = (D.SENT, D.COMMITTED)
"""Delivery states in which the destination has the RTSTRUCT."""


class Approval(StrEnum):
    """What a planning system says of a structure set that came back (PS3.3, C.8.8.17). One that says nothing counts as
    UNAPPROVED."""

    APPROVED = "APPROVED"
    UNAPPROVED = "UNAPPROVED"
    REJECTED = "REJECTED"


class ReturnedState(StrEnum):
    """Where one structure set that came back stands."""

    RECEIVED = "RECEIVED"  # durable; nobody has looked into it yet
    WAITING = "WAITING"  # our own result, or its delivery, is not known yet; looked at again
    PAIRED = "PAIRED"  # it is known which series and which result of ours it answers; to be measured
    NAMES = "NAMES"  # what has a known name is measured; a person says what the other names mean
    MEASURED = "MEASURED"  # every contour of an organ is compared with ours
    APART = "APART"  # held apart: it cannot be, or must not be, compared; the reasons stand beside it


R = ReturnedState
RETURNED_TRANSITIONS: dict[ReturnedState, frozenset[ReturnedState]] = {
    R.RECEIVED: frozenset({R.WAITING, R.PAIRED, R.APART}),
    R.WAITING: frozenset({R.PAIRED, R.APART}),
    R.PAIRED: frozenset({R.MEASURED, R.NAMES, R.APART}),
    R.NAMES: frozenset({R.PAIRED, R.APART}),
    R.MEASURED: frozenset({R.PAIRED, R.APART}),
    R.APART: frozenset({R.RECEIVED}),
}
