"""From the network's grid to the CT's: where organs land, that they never overlap, and what is said of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg_daemon.anatomy.organ import Uncertainty
from rtseg_daemon.anatomy.volume import Grid, Volume, grid_of
from rtseg_daemon.bundles import OrganClass, load_bundle
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.segment.ensemble import Ensemble
from rtseg_daemon.segment.findings import boxes_of, signed_margin
from rtseg_daemon.segment.pipeline import Segmenter, organ_on_ct, to_network_grid
from rtseg_daemon.segment.resample import box_on
from tests.tiny import ORGANS, make_bundle


def organ_of(ensemble, entropy, network, ct, rule, channel, figures):
    box = boxes_of(ensemble.labels, channel)[channel - 1]
    return organ_on_ct(ensemble, entropy, network, ct, rule, channel, figures, box)


def softmax(logits):
    e = np.exp(logits - logits.max(axis=0))
    return (e / e.sum(axis=0)).astype(np.float32)


def ensemble_of(p):
    labels = p.argmax(axis=0).astype(np.uint8)
    return Ensemble(p, labels, labels[None], np.zeros(labels.shape, np.float32))


def ball(grid, centre_mm, radius_mm):
    axes = [o + s * np.arange(n) for o, s, n in zip(grid.origin_mm, grid.spacing_mm, grid.shape, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return np.sqrt((z - centre_mm[0]) ** 2 + (y - centre_mm[1]) ** 2 + (x - centre_mm[2]) ** 2) - radius_mm


NETWORK = Grid((24, 24, 24), (2.5, 4.0, 4.0), (-20.0, -40.0, -40.0))
CT = Grid((30, 100, 90), (3.0, 1.0, 1.1), (-28.0, -52.0, -49.0))


def test_a_ball_lands_on_the_ct_where_it_was_and_as_large():
    distance = ball(NETWORK, (10.0, 5.0, 3.0), 18.0)
    p = softmax(np.stack([distance, -distance]) / 4)
    network = Volume(np.zeros(NETWORK.shape, np.float32), NETWORK.spacing_mm, NETWORK.origin_mm)
    empty = np.zeros(NETWORK.shape, np.float32)
    organ = organ_of(ensemble_of(p), empty, network, CT, OrganClass(name="Ball"), 1, Uncertainty())
    truth = ball(CT, (10.0, 5.0, 3.0), 18.0) < 0
    mask = np.zeros(CT.shape, bool)
    mask[organ.box.slices] = organ.mask
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.97
    assert organ.volume_ml == pytest.approx(4 / 3 * np.pi * 18**3 / 1000, rel=0.05)
    assert ((organ.margin > 0) == organ.mask).all()


@pytest.mark.parametrize(
    ("low_mm", "centre_mm", "end"), [(-22.0, -20.0, ""), (-80.0, -20.0, "inferior"), (-80.0, 10.0, "")]
)
def test_an_organ_at_the_networks_end_is_cut_off_only_where_the_ct_goes_on(low_mm, centre_mm, end):
    distance = ball(NETWORK, (centre_mm, 5.0, 3.0), 18.0)
    p = softmax(np.stack([distance, -distance]) / 4)
    network = Volume(np.zeros(NETWORK.shape, np.float32), NETWORK.spacing_mm, NETWORK.origin_mm)
    ct = Grid((50, 100, 90), (3.0, 1.0, 1.1), (low_mm, -52.0, -49.0))
    empty = np.zeros(NETWORK.shape, np.float32)
    organ = organ_of(ensemble_of(p), empty, network, ct, OrganClass(name="Ball"), 1, Uncertainty())
    assert organ.cut == end


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_organs_never_overlap_on_the_ct(seed):
    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(0, 2, (4, 8, 8, 8)))
    grid = Grid((8, 8, 8), (3.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    ct = Grid((12, 30, 30), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    network = Volume(np.zeros(grid.shape, np.float32), grid.spacing_mm, grid.origin_mm)
    count = np.zeros(ct.shape, int)
    for channel in (1, 2, 3):
        rule = OrganClass(name="Organ", largest_component=False)
        organ = organ_of(ensemble_of(p), network.array, network, ct, rule, channel, Uncertainty())
        if organ.box:
            count[organ.box.slices] += organ.mask
    assert count.max() <= 1


def test_margin_is_positive_exactly_where_the_organ_wins():
    p = softmax(np.random.default_rng(3).normal(size=(5, 4, 4, 4)))
    for c in range(5):
        assert np.array_equal(signed_margin(p, c) > 0, p.argmax(axis=0) == c)


def test_stray_parts_are_dropped_where_the_bundle_says_so():
    distance = np.minimum(ball(NETWORK, (10, 5, 3), 15), ball(NETWORK, (10, 38, 38), 6))
    p = softmax(np.stack([distance, -distance]))
    network = Volume(np.zeros(NETWORK.shape, np.float32), NETWORK.spacing_mm, NETWORK.origin_mm)
    kept, all_of_it = (
        organ_of(
            ensemble_of(p),
            network.array,
            network,
            CT,
            OrganClass(name="Ball", largest_component=largest),
            1,
            Uncertainty(),
        )
        for largest in (True, False)
    )
    assert kept.volume_ml < all_of_it.volume_ml
    assert ((kept.margin > 0) == kept.mask).all()


def test_an_organ_that_nobody_sees_is_not_found():
    p = softmax(np.stack([np.ones((4, 4, 4)), np.zeros((4, 4, 4))]))
    network = Volume(np.zeros((4, 4, 4), np.float32), (3.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    organ = organ_of(
        ensemble_of(p), network.array, network, grid_of(network), OrganClass(name="Gone"), 1, Uncertainty()
    )
    assert not organ.found
    assert organ.volume_ml == 0.0


def test_box_on_another_grid_holds_the_volume_and_stays_inside():
    part = Volume(np.zeros((4, 4, 4), np.float32), (2.5, 4.0, 4.0), (-10.0, -60.0, 0.0))
    box = box_on(CT, part)
    assert box.start[1] == 0
    first, last = CT.origin_mm[2] + box.start[2] * 1.1, CT.origin_mm[2] + (box.stop[2] - 1) * 1.1
    assert first <= 0.0
    assert last >= 12.0


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    make_bundle(models)
    return Segmenter.load(load_bundle(models, "tiny"), Compute(device="cpu", backend="torch", precision="fp32"))


def patient():
    array = np.full((30, 60, 60), -1000, np.int16)
    array[:, 12:50, 10:48] = 40
    array[5:20, 20:30, 20:35] = 300
    return Volume(array, (5.0, 4.0, 4.0), (-70.0, -120.0, -115.0))


def test_every_class_of_the_bundle_is_reported_in_its_order_with_seconds_per_stage(segmenter):
    stages = []
    result = segmenter.segment_volume(patient(), stages.append)
    assert [o.name for o in result.organs] == list(ORGANS)
    assert list(result.seconds) == ["preprocess", "infer", "uncertainty", "masks"]
    assert stages.count("infer") > 1
    for organ in result.organs:
        if organ.found:
            assert organ.uncertainty.vvc is not None
            assert 0 <= organ.uncertainty.entropy <= np.log(2) + 1e-6


def test_the_same_ct_gives_the_same_answer(segmenter):
    a, b = segmenter.segment_volume(patient()), segmenter.segment_volume(patient())
    assert np.array_equal(a.ensemble.probabilities, b.ensemble.probabilities)
    assert [o.comment for o in a.organs] == [o.comment for o in b.organs]


def test_the_couch_is_air_to_the_network(segmenter):
    ct = patient()
    ct.array[:, 54:56, 2:58] = 100
    network = to_network_grid(ct, segmenter.bundle)
    rear = ct.origin_mm[1] + 53 * 4.0
    rows = network.origin_mm[1] + network.spacing_mm[1] * np.arange(network.shape[1]) > rear
    assert (network.array[:, rows] == -1000).all()


def test_a_ct_without_a_body_says_so(segmenter):
    ct = patient()
    with pytest.raises(SeriesError, match="no body"):
        segmenter.segment_volume(ct.with_array(np.full(ct.shape, -1000, np.int16)))


def test_a_bundle_that_learned_from_sampled_pixels_gets_sampled_ones():
    """Inside the body noise of 40 HU: 2 x 2 of 4 x 4 pixels are averaged where pixels are sampled, all 16 elsewhere."""
    hu = np.full((40, 96, 96), -1000.0, np.float32)
    hu[:, 16:80, 16:80] = np.random.default_rng(3).normal(0, 40, (40, 64, 64))
    ct = Volume(hu, (5.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    spread = {}
    for in_plane in ("average", "sample"):
        bundle = SimpleNamespace(spacing_mm=(5.0, 8.0, 8.0), extent_mm=(200.0, 192.0, 192.0), in_plane=in_plane)
        spread[in_plane] = to_network_grid(ct, bundle).array[:, 2:-2, 2:-2].std()
    assert spread["average"] == pytest.approx(10, rel=0.1)
    assert spread["sample"] == pytest.approx(20, rel=0.1)
