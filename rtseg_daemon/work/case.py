"""One case from files to a checked structure set: what the worker and `rtseg-daemon segment` have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydicom import Dataset

from rtseg_daemon.anatomy.organ import RELEASED, Flag, Organ, flagged
from rtseg_daemon.anatomy.volume import Volume, grid_of
from rtseg_daemon.bundles import Bundle, digest_of
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.ct.headers import read_header, split_images
from rtseg_daemon.ct.preconditions import RELEASABLE
from rtseg_daemon.ct.series import CtSeries, series_of
from rtseg_daemon.gates import written_file
from rtseg_daemon.gates.organs import judge_organs
from rtseg_daemon.gates.series import judge_series
from rtseg_daemon.gates.verdict import Verdict
from rtseg_daemon.gates.voxels import judge_volume
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from rtseg_daemon.segment.engines.memory import reduced
from rtseg_daemon.segment.pipeline import Report, Segmenter, Stages
from rtseg_daemon.segment.rings import rings_of
from rtseg_daemon.work.joining import Part, joined

Load = Callable[[Bundle], Segmenter]


@dataclass(frozen=True)
class Options:
    """How a case is to be done.

    Args:
        run: number of the run. Another run gives another structure set.
        reception: what its reception has against the series. It holds like a gate's verdict.
        released: gates of the images whose verdict a person saw and let go: those that may be released hold no more.
        forced: a person who sees the result at once lets it go on too: neither do those of the organs hold.
        rejected: whether organs flagged REJECT get their contours.
        rings: whether each organ gets a further ROI where the members disagree.
        predecessor: SOP Instance UID of the structure set that this one supersedes, or None.
    """

    run: int = 1
    reception: tuple[str, ...] = ()
    released: frozenset[str] = frozenset()
    forced: bool = False
    rejected: Literal["omit", "send"] = "omit"
    rings: bool = False
    predecessor: str | None = None


@dataclass(frozen=True)
class CaseResult:
    """What came of a case. `dataset` is None where a gate held the series before inference.

    Args:
        bundles: whose organs these are. The ROIs of several land in one structure set.
        entropies: vote entropy on each bundle's own grid, in their order.
    """

    bundles: tuple[Bundle, ...]
    verdicts: tuple[tuple[str, Verdict], ...]
    released: frozenset[str] = frozenset()
    forced: bool = False
    series: CtSeries | None = None
    organs: tuple[Organ, ...] = ()
    rings: tuple[Organ, ...] = ()
    dataset: Dataset | None = None
    entropies: tuple[Volume, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def holding(self) -> list[Verdict]:
        """The verdicts that stop the case: those that nobody may release, or that nobody has seen yet, always do."""
        return [v for gate, v in self.verdicts if v.verdict == "hold" and not (v.releasable and self._let_go(gate))]

    def _let_go(self, gate: str) -> bool:
        return self.forced or kind_of(gate) in self.released

    @property
    def doubts(self) -> tuple[list[str], bool]:
        """What the gates before inference say against the images, and whether a person had to let them go."""
        reasons = list(dict.fromkeys(reason for _, verdict in self.verdicts for reason in verdict.doubts))
        return reasons, any(verdict.verdict == "hold" for _, verdict in self.verdicts)

    @property
    def held(self) -> bool:
        return bool(self.holding)

    @property
    def releasable(self) -> bool:
        return all(verdict.releasable for verdict in self.holding)

    @property
    def verdict(self) -> str:
        """The gravest of all verdicts: pass, flag or hold."""
        return max((v.verdict for _, v in self.verdicts), key=["pass", "flag", "hold"].index, default="pass")

    @property
    def reasons(self) -> list[str]:
        """Why it is held, or what was flagged where it is not. Each reason once, however many bundles give it."""
        wanted = self.holding or [verdict for _, verdict in self.verdicts]
        return list(dict.fromkeys(reason for verdict in wanted for reason in verdict.reasons))

    @property
    def sop_instance_uid(self) -> str | None:
        return None if self.dataset is None else str(self.dataset.SOPInstanceUID)

    @property
    def flags(self) -> dict[str, str]:
        return {organ.name: str(organ.flag) for organ in self.organs}

    @property
    def rois(self) -> list[dict[str, Any]]:
        """The organs as `segment --json` shows them."""
        return [roi(organ) for organ in self.organs]

    @property
    def gates(self) -> list[dict[str, Any]]:
        """Every gate's verdict as the ledger stores it."""
        return [{"gate": gate, "verdict": v.verdict, "reasons": list(v.reasons)} for gate, v in self.verdicts]


def roi(organ: Organ) -> dict[str, Any]:
    """One organ's figures, with volume in ml, entropy in nats, slices as `slices=` counts them."""
    return {
        "name": organ.name,
        "volume_ml": round(organ.volume_ml, 3),
        "flag": str(organ.flag),
        "vvc": organ.uncertainty.vvc,
        "entropy": organ.uncertainty.entropy,
        "predicted_dice": organ.predicted_dice,
        "interval": list(organ.interval) if organ.interval else None,
        "slices": list(organ.slices) if organ.slices else None,
        "reasons": list(organ.reasons),
        "comment": organ.comment,
    }


def load_segmenter(bundle: Bundle, compute: Compute, cache: Path | None) -> Segmenter:
    """The bundle on the device that `compute` names. Raises EngineError where there is none."""
    return Segmenter.load(bundle, compute, cache)


def process_case(
    paths: Sequence[Path],
    bundles: Sequence[Bundle],
    load: Load,
    options: Options,
    report: Report,
    ready: CaseResult | None = None,
) -> CaseResult:
    """Gate, load, segment, gate, build: one structure set of one series, not yet written.

    `ready` is what `read_case` made of the same arguments, where that was done before. `load` gives a bundle's
    segmenter. It is called when the series has passed its gates. Raises SeriesError if the files are no volume,
    EngineError if a network cannot run.
    """
    stages = Stages(report)
    result = ready or read_case(paths, bundles, options, stages)
    if not result.held:
        result = segment_case(result, load, options, stages)
    return replace(result, seconds={stage: round(seconds, 3) for stage, seconds in stages.seconds.items()})


def kind_of(gate: str) -> str:
    """Which gate it is, whatever bundle it judged for: `reception`, `series`, `voxels`, `organs` or `written file`."""
    return gate.split(" (")[0]


def gate_of(gate: str, bundle: Bundle, bundles: Sequence[Bundle]) -> str:
    """What a gate is called that every bundle judges by its own limits."""
    return gate if len(bundles) == 1 else f"{gate} ({bundle.name})"


def read_case(paths: Sequence[Path], bundles: Sequence[Bundle], options: Options, stages: Stages) -> CaseResult:
    """The series as a volume, judged by its headers and then by its voxels."""
    with stages.stage("read headers"):
        headers = [read_header(path) for path in paths]
        verdicts = tuple((gate_of("series", one, bundles), judge_series(headers, one.limits)) for one in bundles)
        received = Verdict("hold", options.reception, doubts=options.reception)
        verdicts = (*((("reception", received),) if options.reception else ()), *verdicts)
        result = CaseResult(tuple(bundles), verdicts, options.released, options.forced)
    if result.held:
        return result
    with stages.stage("read series"):
        images = split_images(headers)[0]
        tolerance = min(one.limits.slice_distance_tolerance for one in bundles)
        allowed = RELEASABLE if options.forced or "series" in options.released else frozenset()
        series = series_of(images, allowed, tolerance)
        verdict = judge_volume(series.volume, series.padding)
        return replace(result, series=series, verdicts=(*result.verdicts, ("voxels", verdict)))


def segment_case(result: CaseResult, load: Load, options: Options, stages: Stages) -> CaseResult:
    """The organs, judged, and their structure set. It is made also where a gate holds them, for their release."""
    series, bundles = result.series, result.bundles
    assert series is not None
    parts = joined([find_part(series.volume, bundle, load, options, stages) for bundle in bundles])
    organs = tuple(doubted([organ for part in parts for organ in part.organs], *result.doubts))
    rings = tuple(ring for part in parts for ring in part.rings)
    notes: list[str] = []
    with stages.stage("structure set"):
        identity = derive_identity(series, digest_of(bundles), options.run, "rings" if options.rings else "")
        dataset = build_rtstruct(
            series,
            organs,
            bundles,
            identity,
            rejected=options.rejected,
            rings=rings,
            predecessor=options.predecessor,
            notes=notes,
        )
    verdicts = [(gate_of("organs", part.bundle, bundles), part.verdict) for part in parts]
    return replace(
        result,
        organs=organs,
        rings=rings,
        verdicts=(*result.verdicts, *verdicts),
        dataset=dataset,
        entropies=tuple(part.entropy for part in parts),
        notes=tuple(notes),
    )


def find_part(volume: Volume, bundle: Bundle, load: Load, options: Options, stages: Stages) -> Part:
    """What one bundle finds in a CT, judged by its own limits. Its probabilities do not outlive this call."""
    with stages.stage("load model"):
        segmenter = load(bundle)
    found = segmenter.segment_volume(volume, stages.report)
    for stage, seconds in found.seconds.items():
        stages.seconds[stage] = stages.seconds.get(stage, 0.0) + seconds
    shortage = reduced(segmenter.bundle, bundle)
    organs, verdict = judge_organs(unpredicted(found.organs, shortage), bundle, volume)
    with stages.stage("structure set"):
        rings = rings_of(found, organs, grid_of(volume), bundle.entropy_level) if options.rings else []
    return Part(bundle, tuple(organs), tuple(rings), verdict, found.network.with_array(found.entropy))


def doubted(organs: Sequence[Organ], reasons: Sequence[str], let_go: bool) -> list[Organ]:
    """The organs of images that a gate doubts: REVIEW at best, with its reasons.

    Where a person let images go that are unlike those of the validation, no predicted Dice either: it holds for those.
    """
    if let_go:
        organs = [replace(organ, predicted_dice=None, interval=None) for organ in organs]
    words = [f"{RELEASED}{reason}" if let_go else reason for reason in reasons]
    return [flagged(organ, [(Flag.REVIEW, reason) for reason in words]) for organ in organs]


def unpredicted(organs: Sequence[Organ], shortage: str) -> list[Organ]:
    """The organs of a case for whose windows nothing was validated: REVIEW at best, and no predicted Dice."""
    if not shortage:
        return list(organs)
    return [flagged(replace(o, predicted_dice=None, interval=None), [(Flag.REVIEW, shortage)]) for o in organs]


def write_case(result: CaseResult, path: Path) -> None:
    """Write the structure set durably to `path`. Raises OSError where that is not possible."""
    assert result.dataset is not None
    write_dataset(result.dataset, path)


def checked(result: CaseResult, path: Path, options: Options) -> CaseResult:
    """The result with the verdict on the file that was written: it is read again by code of its own."""
    assert result.series is not None
    reasons = written_file.differences(
        path, result.series, result.organs, rejected=options.rejected, rings=result.rings
    )
    verdict = Verdict("hold", tuple(reasons), releasable=False) if reasons else Verdict("pass")
    return replace(result, verdicts=(*result.verdicts, ("written file", verdict)))
