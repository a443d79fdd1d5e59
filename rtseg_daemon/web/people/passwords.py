"""Passwords: which may be set, and argon2 over them. An unknown name costs the same time as a wrong password."""

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from rtseg_daemon.errors import PeopleError

SHORTEST = 8
LONGEST = 256
FEWEST_DIFFERENT = 5

HASHER = PasswordHasher(time_cost=3, memory_cost=19_456, parallelism=1)
"""argon2id with 19 MiB, and one pass more than OWASP asks for at least."""
ONE_AT_A_TIME = threading.Lock()
"""So that a flood of logins costs one core and 19 MiB, not all of them."""


@cache
def nobody() -> str:
    """Compared with where there is no such account."""
    return HASHER.hash("nobody has this password")


def check_password(name: str, password: str) -> None:
    """Raise PeopleError where a password may not be set: too short or long, too plain, or with the name in it."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise PeopleError(f"a password has {SHORTEST} to {LONGEST} characters; a sentence is a good one")
    if len(set(password)) < FEWEST_DIFFERENT:
        raise PeopleError(f"a password has {FEWEST_DIFFERENT} different characters at least")
    if name.lower() in password.lower():
        raise PeopleError("a password does not contain the account's name")


def hash_of(password: str) -> str:
    """What the ledger keeps."""
    with ONE_AT_A_TIME:
        return HASHER.hash(password)


def matches(kept: str | None, password: str) -> bool:
    """Whether the password is the one behind `kept`. None, for an unknown name, is never matched and takes as long."""
    with ONE_AT_A_TIME:
        other = nobody()
        try:
            HASHER.verify(kept or other, password[: LONGEST + 1])
        except (VerifyMismatchError, InvalidHashError):
            return False
    return kept is not None
