"""Why somebody is turned away. What a browser and what a program see of it is decided where they are answered."""

from dataclasses import dataclass, field

from rtseg_daemon.errors import RtsegError


@dataclass
class LoginNeeded(RtsegError):
    """Nobody is logged in, or not any more. `fields` is the form that was sent all the same. `bearer`: by a token."""

    fields: dict[str, str] = field(default_factory=dict)
    bearer: bool = False

    def __str__(self) -> str:
        return "log in first: a browser at /login, a program by the header Authorization: Bearer TOKEN"


class Forbidden(RtsegError):
    """Somebody is known and may not do this. The message says why."""


class Away(RtsegError):
    """A directory or provider that says who people are cannot be asked now, or answers what cannot be relied on."""
