"""The cases that a bundle learned and was calibrated on, by digests in it: none of them measures it ever again."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rtseg_daemon.bundles import Bundle
from rtseg_training.bundle.lineage import keys_learned
from rtseg_training.errors import CaseError
from rtseg_training.sets.joined import Listed
from rtseg_training.sets.manifest import Entry, keys_of

DIGITS = 16


def digest_of(key: object) -> str:
    """A short digest of a case's file, CT or patient. Those are digests already, the patient's a salted one."""
    return hashlib.sha256(str(key).encode()).hexdigest()[:DIGITS]


def digests(entries: Iterable[Entry]) -> set[str]:
    """All by which these cases and their patients are known again."""
    return {digest_of(key) for entry in entries for key in keys_of(entry)}


def written(known: Iterable[str]) -> str:
    """As a bundle carries them."""
    return " ".join(sorted(set(known)))


def with_learned(
    bundle: Bundle, entries: Iterable[Entry], chain: Mapping[str, Mapping[str, Any]] | None = None
) -> Bundle:
    """`bundle` that knows what it learned: these cases, and those of the checkpoints that its members go back to."""
    before = {digest_of(key) for meta in (chain or {}).values() for key in keys_learned(meta)}
    return bundle.model_copy(update={"learned": written([*bundle.learned.split(), *digests(entries), *before])})


def with_calibrated(bundle: Bundle, entries: Iterable[Entry]) -> Bundle:
    """`bundle` that knows what it was calibrated on, now and earlier."""
    return bundle.model_copy(update={"calibrated_on": written([*bundle.calibrated_on.split(), *digests(entries)])})


def refuse_learned_cases(bundle: Bundle, cases: Sequence[Listed]) -> None:
    """Raise CaseError for a case, or another one of its patient, that the bundle has learned."""
    refuse(bundle, cases, bundle.learned, "has learned")


def refuse_known_cases(bundle: Bundle, cases: Sequence[Listed]) -> None:
    """Raise CaseError for a case, or another one of its patient, that the bundle has learned or was calibrated on."""
    refuse_learned_cases(bundle, cases)
    refuse(bundle, cases, bundle.calibrated_on, "was calibrated on")


def refuse(bundle: Bundle, cases: Sequence[Listed], known: str, what: str) -> None:
    there = set(known.split())
    for case in cases:
        if digests([case.entry]) & there:
            raise CaseError(
                f"bundle {bundle.name} {bundle.version} {what} case {case.name} of {case.folder}, or another one of "
                "its patient: what that measures is no news; give cases that it does not know"
            )
