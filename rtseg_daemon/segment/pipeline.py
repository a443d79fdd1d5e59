"""From a CT volume to organs: the middle of the flow, stage by stage."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rtseg_daemon.anatomy.arrays import Values, on_host
from rtseg_daemon.anatomy.organ import Appearance, Organ, Uncertainty
from rtseg_daemon.anatomy.volume import AIR_HU, Array, Box, Grid, Volume, bounding_box, grid_of
from rtseg_daemon.bundles import Bundle, OrganClass
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import SeriesError
from rtseg_daemon.segment.appearance import appearance_of, unusual
from rtseg_daemon.segment.body import body_mask, centre_box, largest_object
from rtseg_daemon.segment.engines.engine import InferenceEngine
from rtseg_daemon.segment.engines.start import start_engine
from rtseg_daemon.segment.ensemble import Ensemble, class_weights, combine, corrected
from rtseg_daemon.segment.findings import LEAST_MARGIN, boxes_of, figures_of, margin_on_ct, moved
from rtseg_daemon.segment.infer import member_probabilities
from rtseg_daemon.segment.prediction import features, predict_dice, unacceptable
from rtseg_daemon.segment.resample import resample, spaced_grid
from rtseg_daemon.segment.uncertainty import disagreement, vote_entropy

Report = Callable[[str], None]


def unheard(_stage: str) -> None:
    """For a caller who does not watch."""


@dataclass
class Stages:
    """Seconds per stage, and a beat for whoever watches that the work goes on."""

    report: Report
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.report(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


@dataclass(frozen=True)
class Segmentation:
    """What a bundle says about one CT.

    Args:
        organs: one per class of the bundle, in its order, on the CT's grid.
        ensemble: probabilities and votes on the network's grid, where the members ran.
        entropy: vote entropy (nats) of every voxel of the network's grid.
        network: the network's grid as a volume of HU, air outside the body.
        seconds: time per stage.
    """

    organs: list[Organ]
    ensemble: Ensemble
    entropy: Array
    network: Volume
    seconds: dict[str, float]


class Segmenter:
    """One bundle, loaded and warm."""

    def __init__(self, bundle: Bundle, engine: InferenceEngine) -> None:
        self.bundle = bundle
        self.engine = engine
        self.weights = class_weights([c.weights for c in bundle.classes], len(bundle.members))
        self.scales = np.asarray([1.0, *(c.scale for c in bundle.classes)], np.float32)

    @classmethod
    def load(cls, bundle: Bundle, compute: Compute, cache: Path | None = None) -> "Segmenter":
        """Start the engine that `compute` asks for. Raises EngineError where this machine has none.

        The segmenter's own bundle has smaller windows where memory does not suffice for those of training.
        """
        return cls(*start_engine(bundle, compute, cache))

    def segment_volume(self, ct: Volume, report: Report = unheard) -> Segmentation:
        """Contour every organ of the bundle on `ct` (HU). Raises SeriesError if there is no body in it."""
        stages = Stages(report)
        with stages.stage("preprocess"):
            network = to_network_grid(ct.with_array(self.engine.placed(ct.array)), self.bundle)
        with stages.stage("infer"):
            members = member_probabilities(self.engine, self.bundle, network.array, lambda: report("infer"))
            ensemble = combine(corrected(members, self.scales), self.weights)
        return self.describe(grid_of(ct), network, ensemble, stages)

    def describe(self, ct: Grid, network: Volume, ensemble: Ensemble, stages: Stages) -> Segmentation:
        """From the members' common answer to organs on the CT's grid. Calibration starts here with stored answers."""
        with stages.stage("uncertainty"):
            entropy = vote_entropy(ensemble.votes, len(self.bundle.classes) + 1)
            figures = figures_of(ensemble, entropy, len(self.bundle.classes), self.bundle.temperature)
        with stages.stage("masks"):
            boxes = boxes_of(ensemble.labels, len(self.bundle.classes))
            organs = [
                organ_on_ct(ensemble, entropy, network, ct, self.bundle.classes[k], k + 1, figure, box)
                for k, (figure, box) in enumerate(zip(figures, boxes, strict=True))
            ]
        with stages.stage("uncertainty"):
            labels = on_host(ensemble.labels)
            seen = [appearance_of(labels, k, box, network) for k, box in enumerate(boxes, 1)]
            organs = predicted(organs, seen, self.bundle.classes)
        return Segmentation(organs, ensemble, on_host(entropy), network, stages.seconds)


def to_network_grid(ct: Volume, bundle: Bundle) -> Volume:
    """The CT at the bundle's spacing, cropped around the patient, everything outside the body set to air.

    The CT may lie on a card, which then resamples it. The answer is on the host.
    """
    coarse = resample(ct, spaced_grid(ct, bundle.spacing_mm), sampled=bundle.in_plane == "sample")
    coarse = coarse.with_array(on_host(coarse.array))
    body = body_mask(coarse)
    if not body.any():
        raise SeriesError("no body found in the CT (nothing above -350 HU); is this a phantom or an empty scan?")
    box = centre_box(body, bundle.spacing_mm, bundle.extent_mm)
    hu = np.where(body[box.slices], coarse.array[box.slices], np.float32(AIR_HU))
    return coarse.crop(box).with_array(hu)


def predicted(organs: Sequence[Organ], seen: Sequence[Appearance | None], classes: Sequence[OrganClass]) -> list[Organ]:
    """The organs with how each looks, and with what may be claimed of each in the light of the others."""
    looks = {organ.name: look for organ, look in zip(organs, seen, strict=True) if look is not None and organ.found}
    priors = {organ.name: organ.prior for organ in classes if organ.prior is not None}
    strange = unusual(looks, priors, len(classes))
    out = []
    for organ, rule in zip(organs, classes, strict=True):
        figures = features(organ.uncertainty, organ.volume_ml, strange.get(organ.name))
        dice, interval = predict_dice(rule.calibration, figures) if organ.found else (None, None)
        risk = unacceptable(rule.calibration, figures, rule.acceptable) if organ.found else None
        look = looks.get(organ.name)
        out.append(
            replace(organ, figures=figures, appearance=look, predicted_dice=dice, interval=interval, unacceptable=risk)
        )
    return out


def organ_on_ct(
    ensemble: Ensemble,
    entropy: Values,
    network: Volume,
    ct: Grid,
    organ: OrganClass,
    channel: int,
    figures: Uncertainty,
    coarse: Box | None,
) -> Organ:
    """One organ from its box `coarse` on the network's grid to the CT's: only that is interpolated."""
    found = margin_on_ct(ensemble, coarse, network, ct, channel) if coarse else None
    if coarse is None or found is None:
        return Organ(organ.name, None, None, None, 0.0, figures)
    box, fine = found
    mask = fine > LEAST_MARGIN
    tight = Box((0, 0, 0), box.shape)
    if organ.largest_component:
        kept = largest_object(mask)
        fine = np.where(mask & ~kept, np.float32(-1e-3), fine)
        mask = kept
        tight = (bounding_box(mask) or tight).grown(1, box.shape)
    volume_ml = float(mask.sum()) * float(np.prod(ct.spacing_mm)) / 1000.0
    doubt = disagreement(entropy[coarse.slices], ensemble.labels[coarse.slices] == channel)
    return Organ(
        organ.name,
        moved(tight, box.start),
        mask[tight.slices].copy(),
        fine[tight.slices].copy(),
        volume_ml,
        figures,
        slices=None if doubt is None else slices_on_ct(doubt, coarse, network, ct),
        doubt=doubt[2] if doubt else "",
        cut=cut_end(coarse, network, ct),
    )


def cut_end(coarse: Box, network: Volume, ct: Grid) -> str:
    """At which end of the network's grid an organ was cut off though the CT goes on there, empty if at none.

    The grid ends where the bundle's extent does, or a step or less before the CT.
    """
    step, beyond = network.spacing_mm[0], 1.5 * network.spacing_mm[0]
    first, last = network.origin_mm[0], network.origin_mm[0] + step * (network.shape[0] - 1)
    if coarse.start[0] == 0 and first - ct.origin_mm[0] > beyond:
        return "inferior"
    if coarse.stop[0] == network.shape[0] and ct.origin_mm[0] + ct.spacing_mm[0] * (ct.shape[0] - 1) - last > beyond:
        return "superior"
    return ""


def slices_on_ct(doubt: tuple[int, int, str], coarse: Box, network: Volume, ct: Grid) -> tuple[int, int]:
    """CT slice numbers, from 1, of a run of network slices."""
    numbers = []
    for z in doubt[:2]:
        mm = network.origin_mm[0] + network.spacing_mm[0] * (coarse.start[0] + z)
        numbers.append(min(max(round((mm - ct.origin_mm[0]) / ct.spacing_mm[0]), 0), ct.shape[0] - 1) + 1)
    return numbers[0], numbers[1]
