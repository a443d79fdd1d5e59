"""A ring lies where members disagree about its organ, near its boundary, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest

from rtseg_daemon.anatomy.organ import Flag, Organ, Uncertainty
from rtseg_daemon.anatomy.volume import Array, Grid, Volume, bounding_box
from rtseg_daemon.segment.ensemble import Ensemble
from rtseg_daemon.segment.pipeline import Segmentation
from rtseg_daemon.segment.rings import REACH_MM, rings_of
from rtseg_daemon.segment.uncertainty import vote_entropy

NETWORK = Grid((20, 30, 30), (3.0, 2.0, 2.0), (-28.5, -29.0, -29.0))
CT = Grid((30, 64, 60), (2.0, 1.0, 1.0), (-29.0, -32.0, -30.0))
MEMBERS = 6


def distance(grid: Grid, centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Array:
    """Distance (mm) of every voxel centre to a point (z, y, x)."""
    axes = [o + s * np.arange(n) for o, s, n in zip(grid.origin_mm, grid.spacing_mm, grid.shape, strict=True)]
    steps = [(axis - c) ** 2 for axis, c in zip(axes, centre_mm, strict=True)]
    return np.asarray(np.sqrt(steps[0][:, None, None] + steps[1][:, None] + steps[2]))


def said(*radii_mm: float, stray: Array | None = None) -> Segmentation:
    """Members that see balls of these radii as class 1; the last one sees `stray` besides."""
    votes = np.stack([(distance(NETWORK) < radius).astype(np.uint8) for radius in radii_mm])
    if stray is not None:
        votes[-1] |= stray.astype(np.uint8)
    empty = np.zeros(NETWORK.shape, np.float32)
    ensemble = Ensemble(np.stack([empty, empty]), votes[0], votes, empty)
    network = Volume(empty, NETWORK.spacing_mm, NETWORK.origin_mm)
    return Segmentation([], ensemble, vote_entropy(votes, 3), network, {})


def ball(radius_mm: float, **facts: object) -> Organ:
    mask = distance(CT) < radius_mm
    box = bounding_box(mask)
    assert box is not None
    organ = Organ("Parotid_L", box, mask[box.slices], None, mask.sum() * 0.002, Uncertainty(0.1, 0.2))
    return replace(organ, **facts)  # type: ignore[arg-type]


def on_ct(ring: Organ) -> Array:
    assert ring.box is not None
    full = np.zeros(CT.shape, bool)
    full[ring.box.slices] = ring.mask
    return full


def test_the_ring_is_the_shell_between_the_smallest_and_the_largest_vote() -> None:
    (ring,) = rings_of(said(*[12.0] * 5, 18.0), [ball(12.0)], CT, 0.45)
    inside, r = on_ct(ring), distance(CT)
    assert inside[(r > 14) & (r < 16)].all()
    assert not inside[(r < 9.5) | (r > 20.5)].any()
    assert ring.volume_ml == pytest.approx(inside.sum() * 0.002)
    assert ring.margin is not None
    assert ring.mask is not None
    assert (ring.margin[ring.mask] > 0).all()


def test_a_lone_vote_falls_short_of_a_higher_level() -> None:
    shell = said(*[12.0] * 5, 18.0)
    assert rings_of(shell, [ball(12.0)], CT, 0.6) == []
    assert len(rings_of(said(*[12.0] * 4, 18.0, 18.0), [ball(12.0)], CT, 0.6)) == 1


def test_no_ring_where_all_members_agree_or_the_organ_was_not_found() -> None:
    assert rings_of(said(*[12.0] * MEMBERS), [ball(12.0)], CT, 0.45) == []
    missing = Organ("Parotid_L", None, None, None, 0.0)
    assert rings_of(said(*[12.0] * 5, 18.0), [missing], CT, 0.45) == []


def test_a_false_find_far_from_the_organ_is_no_part_of_its_ring() -> None:
    far = distance(NETWORK, (0.0, 26.0, 0.0)) < 4.0
    (ring,) = rings_of(said(*[10.0] * 5, 14.0, stray=far), [ball(10.0)], CT, 0.45)
    assert (np.abs(distance(CT)[on_ct(ring)] - 10.0) <= REACH_MM + 2.0).all()
    assert rings_of(said(*[10.0] * MEMBERS, stray=far), [ball(10.0)], CT, 0.45) == []


def test_disagreement_about_another_organ_is_not_shown_at_this_one() -> None:
    shell = said(*[12.0] * 5, 18.0)
    votes = np.where(shell.ensemble.votes == 1, np.uint8(2), np.uint8(0))
    others = replace(shell, ensemble=replace(shell.ensemble, votes=votes))
    assert rings_of(others, [ball(12.0)], CT, 0.45) == []


def test_a_ring_at_the_edge_of_the_scan_is_cut_there() -> None:
    cut = Grid((12, 64, 60), CT.spacing_mm, CT.origin_mm)
    mask = distance(cut) < 12.0
    box = bounding_box(mask)
    assert box is not None
    organ = Organ("Parotid_L", box, mask[box.slices], None, 1.0)
    (ring,) = rings_of(said(*[12.0] * 5, 18.0), [organ], cut, 0.45)
    assert ring.box is not None
    assert ring.box.stop[0] <= cut.shape[0]


def test_its_comment_says_that_it_is_no_organ_and_carries_the_organs_flag() -> None:
    (ring,) = rings_of(said(*[12.0] * 5, 18.0), [ball(12.0, flag=Flag.REVIEW)], CT, 0.45)
    assert ring.comment.startswith("REVIEW vvc=0.100 entropy=0.20 ")
    assert 'reason="no organ: where members disagree about Parotid_L' in ring.comment
