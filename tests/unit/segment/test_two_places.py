"""Every formula is written once, for numpy on the processor and for tensors where a card computes: the same answer."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from rtseg_daemon.anatomy.arrays import on_host
from rtseg_daemon.anatomy.volume import Grid, Volume, bounding_box
from rtseg_daemon.bundles import installed_models, load_bundle
from rtseg_daemon.segment.engines.engine import Choice
from rtseg_daemon.segment.engines.torch_engine import TorchEngine
from rtseg_daemon.segment.ensemble import class_weights, combine, corrected
from rtseg_daemon.segment.findings import boxes_of, figures_of, margin_on_ct
from rtseg_daemon.segment.infer import member_probabilities
from rtseg_daemon.segment.intensity import intensity_knots, segmental_linear
from rtseg_daemon.segment.resample import resample
from rtseg_daemon.segment.uncertainty import disagreement, vote_entropy

MEMBERS, CLASSES, SHAPE = 6, 4, (12, 14, 16)


def answers(seed: int = 3) -> list[np.ndarray]:
    """Probabilities of members that mostly agree on three boxes."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 0.8, (MEMBERS, CLASSES, *SHAPE)).astype(np.float32)
    logits[:, 0] += 2
    for k in range(1, CLASSES):
        logits[:, k, 2:9, 4 * k - 3 : 4 * k + 1, 3:12] += 5
    p = np.exp(logits)
    return list(p / p.sum(axis=1, keepdims=True))


def told(members: list, network: Volume, ct: Grid) -> tuple[list, list, list, np.ndarray]:
    """Figures, margins, doubtful slices and entropies of an ensemble, wherever its members' answers lie."""
    weights = class_weights([[1.0, 2.0, 1.0, 3.0, 1.0, 1.0]] * (CLASSES - 1), MEMBERS)
    ensemble = combine(corrected(iter(members), np.array([1.0, 1.3, 0.8, 1.0], np.float32)), weights)
    entropy = vote_entropy(ensemble.votes, CLASSES)
    boxes = boxes_of(ensemble.labels, CLASSES - 1)
    margins = [margin_on_ct(ensemble, box, network, ct, k) for k, box in enumerate(boxes, 1)]
    doubts = [disagreement(entropy[b.slices], ensemble.labels[b.slices] == k) for k, b in enumerate(boxes, 1)]
    return figures_of(ensemble, entropy, CLASSES - 1, 1.2), margins, doubts, on_host(entropy)


def test_figures_masks_and_doubts_are_the_same_on_tensors():
    network = Volume(np.zeros(SHAPE, np.float32), (3.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    ct = Grid((30, 56, 64), (1.2, 1.0, 1.0), (-1.0, -2.0, -2.0))
    here = told([p.copy() for p in answers()], network, ct)
    there = told([torch.from_numpy(p.copy()) for p in answers()], network, ct)
    for one, other in zip(here[0], there[0], strict=True):
        for field in fields(one):
            assert getattr(one, field.name) == pytest.approx(getattr(other, field.name), abs=1e-5), field.name
    for one, other in zip(here[1], there[1], strict=True):
        assert one[0] == other[0]
        np.testing.assert_allclose(one[1], other[1], atol=1e-5)
    assert here[2] == there[2]
    np.testing.assert_allclose(here[3], there[3], atol=1e-6)


@pytest.mark.parametrize("sampled", [False, True])
def test_a_ct_is_resampled_to_the_same_volume_on_tensors(sampled):
    hu = np.random.default_rng(0).integers(-1000, 1500, (9, 32, 28)).astype(np.int16)
    grid = Grid((7, 10, 9), (3.9, 3.1, 3.2), (0.3, -1.0, 2.0))
    here = resample(Volume(hu, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0)), grid, sampled=sampled)
    there = resample(Volume(torch.from_numpy(hu), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0)), grid, sampled=sampled)
    np.testing.assert_allclose(here.array, on_host(there.array), atol=2e-3)


@pytest.mark.parametrize("name", ["SLF1", "SLF3", "NLF2", "GTV"])
def test_the_intensity_transform_is_the_same_on_tensors_and_that_of_interpolation(name):
    hu = np.linspace(-1200, 2000, 1601, dtype=np.float32)
    here = segmental_linear(hu, *intensity_knots(name))
    np.testing.assert_allclose(here, segmental_linear(torch.from_numpy(hu), *intensity_knots(name)).numpy(), atol=1e-6)
    np.testing.assert_allclose(here, np.interp(hu, *intensity_knots(name)), atol=1e-5)


@pytest.mark.parametrize("step", [None, (8, 8, 8)])
def test_windows_are_blended_to_the_same_answer_where_the_engine_keeps_tensors(step):
    bundle = load_bundle(installed_models(), "han-oar").model_copy(update={"window": (16, 16, 16), "window_step": step})
    bundle = bundle.model_copy(update={"members": bundle.members[:1]})
    engine = TorchEngine(bundle, Choice("cpu", "torch", "fp32"))

    class Keeping:
        """The same engine as on a card: windows and answers are tensors."""

        def placed(self, array):
            return torch.from_numpy(array)

        def run(self, work):
            for member, window in work:
                yield torch.from_numpy(next(iter(engine.run([(member, window.numpy())]))))

    hu = np.random.default_rng(1).uniform(-1000, 1000, (16, 20, 24)).astype(np.float32)
    here, there = (
        [on_host(p).copy() for p in member_probabilities(e, bundle, hu, lambda: None)] for e in (engine, Keeping())
    )
    np.testing.assert_allclose(here[0], there[0], atol=2e-6)


def test_the_box_of_a_mask_is_the_same_on_tensors_and_none_where_it_is_empty():
    mask = np.zeros((5, 6, 7), bool)
    assert bounding_box(mask) is None
    assert bounding_box(torch.from_numpy(mask)) is None
    mask[1, 2:4, 6] = True
    assert bounding_box(mask) == bounding_box(torch.from_numpy(mask))
    assert bounding_box(mask).slices == (slice(1, 2), slice(2, 4), slice(6, 7))
