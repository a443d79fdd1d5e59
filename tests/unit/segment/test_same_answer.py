"""Every backend and precision says what torch says in float32: with the shipped weights, on a phantom and a patient."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.bundles import bundle_names, installed_models, load_bundle
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.demo.phantom import make_phantom
from rtseg_daemon.segment.engines.openvino_engine import cpu_multiplies
from rtseg_daemon.segment.pipeline import Segmentation, Segmenter
from tests.structure_sets import patients

pytestmark = pytest.mark.skipif(not bundle_names(installed_models()), reason="no bundle is installed")


def patient() -> Volume:
    """A patient's CT as the challenge released it: cut to the treated region, pixels of 4 mm."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(patients("openkbp", "validation", "pt_201") / "ct.nii.gz")), "LPS")
    z, y, x = image.GetSpacing()[::-1]
    oz, oy, ox = image.GetOrigin()[::-1]
    return Volume(sitk.GetArrayFromImage(image), (z, y, x), (oz, oy, ox))


def run(ct: Volume, backend: str, precision: str, cache: Path) -> Segmentation:
    bundle = load_bundle(installed_models(), "han-oar")
    compute = Compute.model_validate({"device": "cpu", "backend": backend, "precision": precision})
    return Segmenter.load(bundle, compute, cache).segment_volume(ct)


@pytest.fixture(scope="module", params=[pytest.param("phantom", marks=pytest.mark.slow), "patient"])
def case(request, engine_cache) -> tuple[Volume, Segmentation]:
    """A CT and the reference's answer."""
    ct = patient() if request.param == "patient" else make_phantom(1, 256)[0]
    return ct, run(ct, "torch", "fp32", engine_cache)


@pytest.mark.parametrize(("backend", "precision"), [("openvino", "fp32"), ("openvino", "bf16"), ("torch", "bf16")])
def test_masks_flags_and_uncertainty_are_those_of_torch_in_float32(backend, precision, case, engine_cache):
    if precision == "bf16" and not cpu_multiplies("bf16"):
        pytest.skip("this processor does not multiply in bf16, so nothing runs in it here")
    ct, reference = case
    answer = run(ct, backend, precision, engine_cache)
    for ours, theirs in zip(answer.organs, reference.organs, strict=True):
        channel = [o.name for o in reference.organs].index(theirs.name) + 1
        a, b = answer.ensemble.labels == channel, reference.ensemble.labels == channel
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) >= 0.995, ours.name
        assert ours.flag == theirs.flag
        assert ours.uncertainty.vvc == pytest.approx(theirs.uncertainty.vvc, abs=0.01)
        assert ours.uncertainty.entropy == pytest.approx(theirs.uncertainty.entropy, abs=0.02)
    assert np.abs(answer.ensemble.probabilities - reference.ensemble.probabilities).mean() < 1e-3
