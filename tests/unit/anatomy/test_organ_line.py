"""What an organ's line says, read back into figures."""

import pytest

from rtseg_daemon.anatomy.organ import Flag, Organ, Uncertainty
from rtseg_daemon.anatomy.organ_line import whole_roi
from rtseg_daemon.work.case import roi

DOUBTFUL = Organ(
    "Parotid_L",
    None,
    None,
    None,
    21.4,
    Uncertainty(vvc=0.142, entropy=0.31),
    predicted_dice=0.78,
    interval=(0.69, 0.85),
    flag=Flag.REVIEW,
    reasons=("members disagree at the inferior end", "touches the last slice"),
    slices=(41, 47),
)


def test_an_organ_is_stored_with_interval_slices_and_each_reason() -> None:
    stored = roi(DOUBTFUL)
    assert stored["interval"] == [0.69, 0.85]
    assert stored["slices"] == [41, 47]
    assert stored["reasons"] == ["members disagree at the inferior end", "touches the last slice"]


def test_a_row_from_before_these_keys_says_the_same_from_its_comment() -> None:
    stored = roi(DOUBTFUL)
    old = {key: value for key, value in stored.items() if key not in ("interval", "slices", "reasons")}
    assert whole_roi(old) == stored


def test_an_organ_without_doubt_has_neither_interval_nor_slices() -> None:
    old = {"name": "Larynx", "comment": "OK vvc=na entropy=na"}
    assert whole_roi(old) == old | {"interval": None, "slices": None, "reasons": []}


@pytest.mark.parametrize("comment", ["", None, 'reason="', "slices=9999999999-1", "dice=[-]" * 100])
def test_a_comment_of_another_form_tells_nothing(comment: str | None) -> None:
    found = whole_roi({"comment": comment})
    assert (found["interval"], found["slices"]) == (None, None)
