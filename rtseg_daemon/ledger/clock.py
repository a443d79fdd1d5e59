"""The time that is written into the ledger: by the clock on the wall, or as the caller knows it."""

import time


def or_now(at: float | None) -> float:
    """`at`, or this moment where it is None, in seconds since 1970-01-01 UTC."""
    return time.time() if at is None else at
