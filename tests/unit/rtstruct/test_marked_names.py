"""Names with a flag in them: short enough, unique, and still of the organ and its side."""

import pytest

from rtseg_daemon.anatomy.called import contradiction, meaning_of, shipped_table
from rtseg_daemon.rtstruct.names import MARKS, marked, names_of_rois

TABLE = shipped_table()
ORGANS = sorted({*TABLE.single.values(), *(f"{name}{side}" for name in TABLE.sided.values() for side in ("_L", "_R"))})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Parotid_L", "Parotid_L_RVW"),
        ("Glnd_Submand_L", "Glnd_Subma_L_RVW"),
        ("Lobe_Temporal_R", "Lobe_Tempo_R_RVW"),
        ("Musc_Constrict_I", "Musc_Const_I_RVW"),
        ("Parotis links", "Paroti links_RVW"),
        ("", "ROI_RVW"),
    ],
)
def test_a_name_is_cut_where_it_costs_least(name: str, expected: str) -> None:
    assert marked(name, "_RVW") == expected


def test_every_known_organ_keeps_its_side_and_its_own_name_with_every_mark() -> None:
    taken: dict[str, str] = {}
    for organ in ORGANS:
        for mark in MARKS.values():
            for name in (marked(organ, mark), marked(f"z{organ}", mark)):
                assert len(name) <= 16
                assert name.endswith(mark)
                assert meaning_of(name).sides == meaning_of(organ).sides
                assert contradiction(organ, name) == ""
                assert taken.setdefault(name.casefold(), organ) == organ
    assert len(ORGANS) > 40


def test_two_that_would_be_alike_get_a_number_before_the_mark() -> None:
    names = names_of_rois(["a", "b"], [], {"a": "Glnd_Submand_L", "b": "glnd_submand_l"}, {"a": "_RVW", "b": "_RVW"})
    assert names == ["Glnd_Subma_L_RVW", "glnd_sub_l_2_RVW"]
