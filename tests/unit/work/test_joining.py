"""Organs of several bundles under names that a planning system can tell apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtseg_daemon.anatomy.organ import Flag, Organ
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.gates.verdict import PASS, Finding, verdict_of
from rtseg_daemon.work.joining import Part, free_name, joined
from tests.structure_sets import tiny_bundle

NOWHERE = Volume(np.zeros((1, 1, 1), np.float32), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def part(bundle: str, *names: str, rings: tuple[str, ...] = (), flag: Flag = Flag.OK) -> Part:
    organs = tuple(Organ(name, None, None, None, 0.0, flag=flag) for name in names)
    around = tuple(Organ(name, None, None, None, 0.0, flag=flag) for name in rings)
    return Part(tiny_bundle(*names, name=bundle), organs, around, PASS, NOWHERE)


def test_one_bundle_alone_stays_as_it_is() -> None:
    alone = part("a", "Brainstem")
    assert joined([alone]) == [alone]
    assert "bundle=" not in alone.organs[0].comment


def test_each_roi_says_which_bundle_it_is_of() -> None:
    first, second = joined([part("han-oar", "Brainstem"), part("han-gtv", "PTV_7000")])
    assert first.organs[0].comment == "OK vvc=na entropy=na bundle=han-oar"
    assert second.organs[0].comment == "OK vvc=na entropy=na bundle=han-gtv"
    assert (first.verdict, second.verdict) == (PASS, PASS)


def test_a_second_contour_of_an_organ_is_marked_and_to_be_reviewed_and_the_first_keeps_its_name() -> None:
    first, second = joined([part("a", "Brainstem", "Larynx"), part("b", "brainstem", rings=("brainstem",))])
    assert [organ.name for organ in first.organs] == ["Brainstem", "Larynx"]
    assert [organ.flag for organ in first.organs] == [Flag.OK, Flag.OK]
    assert second.organs[0].name == "brainstem^2"
    assert second.organs[0].flag is Flag.REVIEW
    assert second.organs[0].origin == ("b", "brainstem")
    assert second.organs[0].reasons == ("brainstem is contoured by a too; keep one of the two",)
    assert (second.rings[0].name, second.rings[0].flag) == ("brainstem^2", Flag.REVIEW)
    assert second.verdict.verdict == "flag"
    assert second.verdict.reasons == ("brainstem^2: brainstem is contoured by a too; keep one of the two",)


def test_a_rejected_second_contour_stays_rejected_and_a_hold_stays_a_hold() -> None:
    held = verdict_of([Finding("hold", "wrong side", releasable=False)])
    rejected = part("b", "Brainstem", flag=Flag.REJECT)
    _, second = joined([part("a", "Brainstem"), Part(rejected.bundle, rejected.organs, (), held, NOWHERE)])
    assert second.organs[0].flag is Flag.REJECT
    assert (second.verdict.verdict, second.verdict.releasable) == ("hold", False)


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("Bone_Mandible", "Bone_Mandible^2"),
        ("Lobe_Temporal_L", "Lobe_Tempora_L^2"),
        ("Sixteen_Letters_", "Sixteen_Letter^2"),
    ],
)
def test_a_mark_fits_into_sixteen_characters_and_leaves_the_side(name: str, marked: str) -> None:
    assert free_name(name, {name.casefold(): "a"}) == marked


@given(
    st.lists(st.lists(st.text("abAB_LR", min_size=1, max_size=16), unique=True, max_size=8), min_size=2, max_size=12)
)
def test_no_two_rois_share_a_name_and_none_is_too_long(classes: list[list[str]]) -> None:
    parts = joined([part(f"b{number}", *names) for number, names in enumerate(classes)])
    names = [organ.name for one in parts for organ in one.organs]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(len(name) <= 16 for name in names)
    assert [o.origin for one in parts for o in one.organs] == [
        (f"b{number}", name) for number, organs in enumerate(classes) for name in organs
    ]
