"""What is made of Ray's own words."""

import pytest

from tests.ray import require_ray

require_ray()
from rtseg_daemon.cluster.ray_process import in_short, node_shape, other_version  # noqa: E402

MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.59.1
    Python: 3.12.4
This process on node 10.0.3.11 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""
NODE = {
    "NodeID": "f00d",
    "Alive": True,
    "NodeName": "10.0.3.21",
    "NodeManagerAddress": "10.0.3.21",
    "NodeManagerHostname": "gpu1",
    "Resources": {"CPU": 8.0, "GPU": 2.0, "node:10.0.3.21": 1.0},
}


def test_other_versions_of_ray_and_python_are_one_sentence() -> None:
    assert other_version(MISMATCH) == (
        "the head runs Ray 2.59.1 with Python 3.12.4, and this host Ray 2.60.0 with Python 3.11.7; install the same "
        "versions on both"
    )
    assert other_version("something else") == ""


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({}, ("gpu1", "GPU", 2)),
        ({"NodeName": "room-7"}, ("room-7", "GPU", 2)),
        ({"Resources": {"rtseg_card": 1.0}}, ("gpu1", "rtseg_card", 1)),
        ({"Resources": {"CPU": 8.0}}, ("gpu1", "rtseg_card", 0)),
        ({"Alive": False}, ("gpu1", "rtseg_card", 0)),
    ],
)
def test_a_node_has_as_many_cards_as_ray_counts(changes: dict[str, object], shape: tuple[str, str, int]) -> None:
    found = node_shape(NODE | changes)
    assert (found["name"], found["kind"], found["cards"]) == shape


def test_of_a_quoted_traceback_the_last_line_is_told() -> None:
    quoted = "The actor died: ray::Card.__init__()\nTraceback (most recent call last):\nModuleNotFoundError: no rtseg"
    assert in_short(RuntimeError(quoted)) == "ModuleNotFoundError: no rtseg"
    assert in_short(RuntimeError("The node is gone.\nMore words.")) == "The node is gone."
