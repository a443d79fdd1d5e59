"""DIMSE status codes in words."""

import pytest

from rtseg_daemon.dicom.statuses import told, words


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (0x0000, "success"),
        (0x0122, "refused: SOP class not supported"),
        (0xA801, "refused: move destination unknown"),
        (0xC123, "unable to process"),
        (0x1234, "a status that the standard does not define"),
    ],
)
def test_a_status_is_told_in_the_standards_words(code: int, meaning: str) -> None:
    assert words(code) == meaning


def test_the_peers_own_comment_is_told_without_control_characters_and_not_without_end() -> None:
    assert told(0xA702, "disk\x1b[31m full") == (
        "0xA702, refused: out of resources, unable to perform the sub-operations; it says: disk.[31m full"
    )
    assert len(told(0xC000, "x" * 1000)) < 150
