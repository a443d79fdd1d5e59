"""What is learned and what is held out: kept apart in every command in which the two meet."""

from collections.abc import Sequence
from pathlib import Path

from rtseg_training.cli.console import console
from rtseg_training.sets.joined import refuse_shared


def keep_apart(learned: Sequence[Path], held_out: Sequence[Path]) -> None:
    """Raise CaseError if these data sets share a case or a patient. Says what cannot be told of their patients."""
    for sentence in refuse_shared(learned, held_out):
        console.print(sentence, style="yellow", highlight=False, markup=False, soft_wrap=True)
