"""Members' maps reduced for calibration: small where members are sure, and the same figures come of them."""

from pathlib import Path

import numpy as np
import pytest
from rtseg_training.bundle.kept import LEAST, Store, reduced, restored
from rtseg_training.errors import CalibrationError

from rtseg_daemon.anatomy.volume import Array
from rtseg_daemon.segment.ensemble import combine
from rtseg_daemon.segment.findings import figures_of
from rtseg_daemon.segment.uncertainty import vote_entropy
from tests.unit.training.conftest import no_room

SHAPE = (20, 40, 40)
CLASSES = 6


def sure_members(count: int) -> list[Array]:
    """Members that see five balls, a little differently, and are sure of the background elsewhere."""
    z, y, x = np.indices(SHAPE)
    out = []
    for member in range(count):
        rng = np.random.default_rng(member)
        logits = np.zeros((CLASSES, *SHAPE), np.float32)
        for k in range(1, CLASSES):
            middle = np.array([10, 20, 6 * k + 2]) + rng.normal(0, 0.4, 3)
            logits[k] = 12 - 4 * np.sqrt(((np.stack([z, y, x], -1) - middle) ** 2).sum(-1))
        p = np.exp(logits - logits.max(axis=0))
        out.append(np.asarray(p / p.sum(axis=0), np.float32))
    return out


def kept(members: list[Array], path: Path) -> Store:
    store = Store(path)
    for passed, p in zip(store.write(np.zeros(SHAPE, np.uint8), iter(members)), members, strict=True):
        assert passed is p
    return store


def test_a_member_comes_back_as_it_was_but_for_rounding() -> None:
    (p,) = sure_members(1)
    back = restored(*reduced(p), SHAPE)
    assert np.abs(back - p).max() < 1e-3
    assert np.array_equal(back.argmax(axis=0), p.argmax(axis=0))
    assert np.abs(back.sum(axis=0) - 1).max() < 1e-5
    sure = p[0] > 1 - LEAST
    assert 0.5 < sure.mean() < 1
    assert (back[0][sure] == 1).all()
    assert (back[1:, sure] == 0).all()


def test_the_figures_of_reduced_members_are_those_of_whole_ones(tmp_path: Path) -> None:
    members = sure_members(3)
    weights = np.full((3, CLASSES), 1 / 3, np.float32)
    found = []
    for source in (iter([p.copy() for p in members]), kept(members, tmp_path / "a.npz").members()):
        ensemble = combine(source, weights)
        found.append(figures_of(ensemble, vote_entropy(ensemble.votes, CLASSES), CLASSES - 1, 3.0))
    for whole, less in zip(*found, strict=True):
        for name in ("vvc", "entropy", "pairwise_dice", "soft_entropy", "mutual_information", "expected_dice"):
            assert getattr(less, name) == pytest.approx(getattr(whole, name), rel=0.01)


def test_reduced_members_take_a_small_part_of_the_room(tmp_path: Path) -> None:
    members = sure_members(3)
    store = kept(members, tmp_path / "a.npz")
    whole = sum(p.astype(np.float16).nbytes for p in members)
    assert store.path.stat().st_size < whole / 10
    assert np.array_equal(store.truth(), np.zeros(SHAPE, np.uint8))


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    with (
        no_room(2000),
        pytest.raises(CalibrationError, match=r"a\.npz cannot be written .* set TMPDIR to a larger disk"),
    ):
        kept(sure_members(1), tmp_path / "a.npz")
