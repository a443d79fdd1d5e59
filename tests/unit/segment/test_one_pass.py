"""Families that see the whole volume at once keep their window, however little memory there is."""

import pytest

from rtseg_daemon.segment.engines.memory import attempts, halved
from tests.structure_sets import tiny_bundle

WHOLE = (84, 80, 64)


@pytest.mark.parametrize("family", ["anatomynet", "focusnet"])
def test_memory_never_cuts_the_window_of_one_pass(family: str) -> None:
    bundle = tiny_bundle(family=family, window=WHOLE)
    assert halved(bundle, 2).window == WHOLE
    assert list(attempts("cuda:0", [bundle])) == [("cuda:0", 0), ("cpu", 0)]


def test_other_windows_are_halved_beside_it() -> None:
    bundle = tiny_bundle(family="sepnet", window=WHOLE)
    assert halved(bundle, 1).window == (40, 80, 64)
    assert ("cuda:0", 1) in list(attempts("cuda:0", [bundle, tiny_bundle(family="focusnet", window=WHOLE)]))
