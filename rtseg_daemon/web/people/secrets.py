"""Random secrets, and what is kept of them: a digest. Who reads the ledger cannot log in with it."""

import hashlib
import secrets

BYTES = 32
"""256 bits: nobody guesses one, so a plain digest without salt is enough."""


def new_secret() -> str:
    """A new one, of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(BYTES)


def digest_of(secret: str) -> str:
    """SHA-256 in hex. Rows are found by it, so that no comparison tells how much of a guess was right."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
