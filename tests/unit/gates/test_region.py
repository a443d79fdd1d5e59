"""Is it the right part of the body? By organs that lie as in a patient, and by such that do not."""

from dataclasses import replace

import pytest

from rtseg_daemon.anatomy.organ import Appearance, Flag, Organ
from rtseg_daemon.anatomy.volume import Triple
from rtseg_daemon.bundles import Limits, OrganClass
from rtseg_daemon.calibration import OrganPrior
from rtseg_daemon.gates.region import misplaced, too_few_organs, wrong_region
from tests.unit.gates.test_organs import bundle, organ

PLACES: dict[str, Triple] = {
    "Brainstem": (120.0, 0.0, 0.0),
    "SpinalCord": (0.0, 20.0, 0.0),
    "Bone_Mandible": (60.0, -70.0, 0.0),
    "Larynx": (0.0, -36.0, 0.0),
}


def looks(places: dict[str, Triple] = PLACES) -> dict[str, Appearance]:
    return {name: Appearance(20.0, mm, (40.0, 40.0, 40.0), 30.0, 0.0, 0.9, False) for name, mm in places.items()}


def priors() -> dict[str, OrganPrior]:
    out = {}
    for name, own in PLACES.items():
        offsets = {}
        for other, theirs in PLACES.items():
            if other != name:
                z, y, x = ((a - b, 10.0) for a, b in zip(own, theirs, strict=True))
                offsets[other] = (z, y, x)
        out[name] = OrganPrior(
            log_volume=(3.0, 0.3), extent_mm=((40, 8), (40, 8), (40, 8)), hu=(30, 10), contrast=(0, 10),
            continuity=(0.9, 0.02), offsets=offsets,
        )  # fmt: skip
    return out


def test_organs_that_lie_as_in_a_patient_pass() -> None:
    assert misplaced(looks(), priors()) == ""


@pytest.mark.parametrize("axes", [(0,), (1, 2)])
def test_slices_in_reverse_and_a_patient_turned_by_180_degrees_are_told(axes: tuple[int, ...]) -> None:
    turned = {
        name: tuple(-mm if axis in axes else mm for axis, mm in enumerate(place)) for name, place in PLACES.items()
    }
    assert "usually" in misplaced(looks(turned), priors())  # type: ignore[arg-type]


def test_pixels_turned_by_90_degrees_are_told() -> None:
    turned = {name: (z, x, y) for name, (z, y, x) in PLACES.items()}
    assert "usually" in misplaced(looks(turned), priors())


def test_the_worst_pair_is_named_with_both_distances() -> None:
    moved = PLACES | {"Brainstem": (-100.0, 0.0, 0.0)}
    words = misplaced(looks(moved), priors())
    assert words == "Brainstem lies 100 mm below SpinalCord, usually 120 mm above it"


def held(organs: list[Organ], minimum: int = 1) -> list[str]:
    known = priors()
    classes = [OrganClass(name=name, prior=known[name]) for name in PLACES]
    return [
        finding.reason
        for finding in wrong_region(organs, bundle(*classes, limits=Limits(minimum_organs=minimum)))
        if finding.weight == "hold" and finding.releasable
    ]


def found(flag: Flag = Flag.OK, places: dict[str, Triple] = PLACES) -> list[Organ]:
    return [replace(organ(name, 20), appearance=look, flag=flag) for name, look in looks(places).items()]


def test_a_misplaced_organ_holds_the_case_for_a_person() -> None:
    assert held(found()) == []
    (reason,) = held(found(places=PLACES | {"Larynx": (300.0, 0.0, 0.0)}))
    assert reason.endswith("is this the right body region and position?")


def test_an_organ_that_is_rejected_does_not_tell_where_the_others_belong() -> None:
    organs = found(places=PLACES | {"Larynx": (300.0, 0.0, 0.0)})
    organs[-1] = replace(organs[-1], flag=Flag.REJECT)
    assert held(organs) == []


def test_seven_rejected_organs_are_no_head_and_neck() -> None:
    (reason,) = held(found(Flag.REJECT), minimum=4)
    assert reason == "only 0 usable organs, at least 4 expected: is this the right body region?"


def test_targets_need_not_be_found() -> None:
    target = OrganClass(name="PTV_7000", interpreted_type="PTV")
    assert list(too_few_organs([], bundle(target, limits=Limits(minimum_organs=2)))) == []
