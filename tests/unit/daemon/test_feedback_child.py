"""The process for what came back is started only where something may come back."""

from pathlib import Path
from typing import Any

import pytest

from rtseg_daemon.config.file import load_config
from rtseg_daemon.daemon.children import Modules, children_of
from tests.world import write_config

PEER = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


@pytest.mark.parametrize(
    ("changes", "started"),
    [
        ({}, False),
        ({"dicom": {"allowed_callers": [{"ae_title": "PACS", "host": "127.0.0.1"}]}}, False),
        ({"dicom": {"allowed_callers": [{"ae_title": "TPS", "host": "127.0.0.1", "feedback": True}]}}, True),
        ({"query": [PEER]}, False),
        ({"query": [PEER], "feedback": {"poll": True}}, True),
    ],
)
def test_it_is_started_where_sets_may_come_back(tmp_path: Path, changes: dict[str, Any], started: bool) -> None:
    file = write_config(tmp_path, 1, **changes)
    found = [child.name for child in children_of(load_config(file), file, 0, None, Modules())]
    assert ("feedback" in found) is started
