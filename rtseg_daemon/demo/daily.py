"""`demo --constancy`: the phantom and three questions with known answers through the installed bundle, as files."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from rtseg_daemon.bundles import Bundle
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.demo.constancy import (
    deviations,
    load_reference,
    reference_file,
    reference_of,
    save_reference,
)
from rtseg_daemon.demo.end_to_end import Check, Run, check_missing, check_region, check_sides, with_marker
from rtseg_daemon.demo.phantom import make_phantom, write_series
from rtseg_daemon.work import case

SEED = 1
MATRIX = 512
MISSING = "Esophagus"


@dataclass(frozen=True)
class Day:
    """What to check, and against which reference.

    Args:
        references: the folder of the references.
        record: whether what is found becomes the reference.
    """

    bundle: Bundle
    compute: Compute
    cache: Path | None
    references: Path
    record: bool = False


def check_day(day: Day) -> list[Check]:
    """All checks. Raises EngineError where the bundle cannot run here, StorageError where there is no reference."""
    bundle = day.bundle
    path = reference_file(day.references, bundle)
    reference = None if day.record else load_reference(path, bundle)
    ct, truth = make_phantom(SEED, MATRIX)
    marked, marker_x_mm = with_marker(ct, truth["Parotid_L"])
    run = runner(bundle, day)
    with tempfile.TemporaryDirectory(prefix="rtseg-demo-") as folder:
        result = run(write_series(marked, Path(folder), SEED))
    checks = [Check("series", not result.held, "; ".join(result.reasons) if result.held else "the phantom passes")]
    checks += check_sides(result, marker_x_mm)
    checks += [check_missing(run, ct, truth, MISSING), check_region(run, ct)]
    if reference is not None:
        moved = deviations(reference, result)
        checks += [Check("constancy", False, line) for line in moved] or [
            Check("constancy", True, f"{len(reference.organs)} organs as recorded on {reference.recorded_at}")
        ]
    elif all(check.ok for check in checks):  # what fails is no reference
        save_reference(reference_of(result, bundle), path)
        checks.append(Check("recorded", True, str(path)))
    else:
        checks.append(Check("recorded", False, "nothing: a check failed"))
    return checks


def runner(bundle: Bundle, day: Day) -> Run:
    """The way of every case: gates, networks, gates, the file written and read back."""
    segmenter = case.load_segmenter(bundle, day.compute, day.cache)

    def run(paths: list[Path]) -> case.CaseResult:
        result = case.process_case(paths, [bundle], lambda _: segmenter, case.Options(), lambda _: None)
        if result.dataset is None:
            return result
        written = paths[0].with_name("written.dcm")
        case.write_case(result, written)
        return case.checked(result, written, case.Options())

    return run
