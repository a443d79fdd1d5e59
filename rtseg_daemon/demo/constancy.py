"""The daily constancy check: one phantom through the installed bundle, against what was recorded of that version.

The phantom carries a marker on its left. Nothing here knows how contours are made: it looks at what came out.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.errors import StorageError
from rtseg_daemon.rtstruct.equipment import own_version
from rtseg_daemon.storage import write_durably
from rtseg_daemon.work.case import CaseResult


@dataclass(frozen=True)
class Tolerances:
    """How far a figure may move. Who records a reference may edit them in its file.

    Args:
        least_ml: below this a volume may move whatever its share.
        seconds_factor: how many times as long as recorded it may take, the loading of the models left out.
    """

    volume_percent: float = 1.0
    least_ml: float = 0.05
    centre_mm: float = 0.5
    hu: float = 2.0
    seconds_factor: float = 3.0


@dataclass(frozen=True)
class OrganFigures:
    """One organ of the phantom: volume in ml, centre (x, y, z) in mm in patient coordinates, median HU inside."""

    volume_ml: float
    centre_mm: tuple[float, float, float]
    hu: float
    flag: str


@dataclass(frozen=True)
class Reference:
    """What a bundle's version found in the phantom when it was recorded. `organs` has those that were found."""

    bundle: str
    version: str
    digest: str
    software: str
    seconds: float
    organs: dict[str, OrganFigures]
    recorded_at: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    tolerances: Tolerances = field(default_factory=Tolerances)


def figures_of(result: CaseResult) -> dict[str, OrganFigures]:
    """What was found in a case, by organ."""
    assert result.series is not None
    ct = result.series.volume
    return {organ.name: organ_figures(organ, ct) for organ in result.organs if organ.found}


def organ_figures(organ: Organ, ct: Volume) -> OrganFigures:
    assert organ.box is not None
    assert organ.mask is not None
    indices = [axis.mean() + start for axis, start in zip(np.nonzero(organ.mask), organ.box.start, strict=True)]
    z, y, x = (o + s * float(i) for o, s, i in zip(ct.origin_mm, ct.spacing_mm, indices, strict=True))
    hu = float(np.median(ct.array[organ.box.slices][organ.mask]))
    return OrganFigures(round(organ.volume_ml, 3), (round(x, 2), round(y, 2), round(z, 2)), hu, str(organ.flag))


def seconds_of(result: CaseResult) -> float:
    """How long the case took, the loading of the models left out: the first time on a machine converts them."""
    return round(sum(seconds for stage, seconds in result.seconds.items() if stage != "load model"), 2)


def reference_of(result: CaseResult, bundle: Bundle) -> Reference:
    """What is to be recorded of a case."""
    return Reference(bundle.name, bundle.version, bundle.digest, own_version(), seconds_of(result), figures_of(result))


def deviations(reference: Reference, result: CaseResult) -> list[str]:
    """Organ and figure of everything that is out of tolerance, or nothing."""
    found, limits = figures_of(result), reference.tolerances
    lines = [
        f"{name}: not found, though it was when the reference was recorded" for name in reference.organs.keys() - found
    ]
    lines += [
        f"{name}: found, though it was not when the reference was recorded" for name in found.keys() - reference.organs
    ]
    for name in reference.organs.keys() & found:
        lines += moved_figures(name, reference.organs[name], found[name], limits)
    allowed, taken = limits.seconds_factor * reference.seconds, seconds_of(result)
    if taken > allowed:
        lines.append(f"time: {taken:.1f} s, at most {allowed:.1f} s ({limits.seconds_factor:g} times as recorded)")
    return sorted(lines)


def moved_figures(name: str, before: OrganFigures, now: OrganFigures, limits: Tolerances) -> Iterator[str]:
    """The figures of one organ that moved by more than `limits`."""
    change = now.volume_ml - before.volume_ml
    if abs(change) > max(limits.least_ml, before.volume_ml * limits.volume_percent / 100):
        percent = 100 * change / before.volume_ml if before.volume_ml else math.inf
        yield f"{name}: volume {now.volume_ml:.2f} ml, recorded {before.volume_ml:.2f} ml ({percent:+.1f} %)"
    distance = math.dist(before.centre_mm, now.centre_mm)
    if distance > limits.centre_mm:
        yield f"{name}: centre moved by {distance:.2f} mm, at most {limits.centre_mm:g} mm"
    if abs(now.hu - before.hu) > limits.hu:
        yield f"{name}: median {now.hu:.0f} HU, recorded {before.hu:.0f} HU"
    if now.flag != before.flag:
        yield f"{name}: flag {now.flag}, recorded {before.flag}"


def reference_file(folder: Path, bundle: Bundle) -> Path:
    """Where the reference of a bundle's version lies. Another calibration under the same version has another one."""
    return folder / f"{bundle.name}-{bundle.version}-{bundle.digest[:12]}.json"


def save_reference(reference: Reference, path: Path) -> None:
    """Write a reference, durably. Raises StorageError where that is not possible."""
    try:
        write_durably(path, (json.dumps(asdict(reference), indent=2) + "\n").encode(), mode=0o644)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error


def load_reference(path: Path, bundle: Bundle) -> Reference:
    """A recorded reference. Raises StorageError where there is none, it is damaged, or it is of another bundle."""
    if not path.is_file():
        raise StorageError(
            f"no reference of {bundle.name} {bundle.version} at {path}; record it once "
            "with `rtseg-daemon demo --constancy --record`, at commissioning"
        )
    try:
        document: Any = json.loads(path.read_text())
        reference = TypeAdapter(Reference).validate_python(document)
    except (ValueError, ValidationError) as error:
        raise StorageError(f"the reference {path} cannot be read; record it again with --record") from error
    if reference.digest != bundle.digest:
        raise StorageError(f"the reference {path} is of another bundle than {bundle.label}; record it again")
    return reference
