"""Errors of the training half. Each ends in one sentence that names the case and the file."""

from rtseg_daemon.errors import RtsegError


class CaseError(RtsegError):
    """A case cannot be used: the message names case and file and says why."""


class RecipeError(RtsegError):
    """A recipe is wrong or does not fit the data. The message names the key."""


class CheckpointError(RtsegError):
    """A checkpoint is damaged or belongs to another recipe."""


class ExportError(RtsegError):
    """A bundle cannot be made or promoted: the message names the organ, member or golden case and the reason."""


class CalibrationError(RtsegError):
    """A bundle cannot be calibrated on these cases: the message says what is missing."""
