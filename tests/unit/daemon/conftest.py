"""A configuration and its storage, with nothing running."""

from pathlib import Path

import pytest

from rtseg_daemon.config.file import Config, load_config
from rtseg_daemon.storage import Layout
from tests.world import write_config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(write_config(tmp_path, 1))


@pytest.fixture
def layout(config: Config) -> Layout:
    layout = Layout(config.storage.directory)
    layout.create()
    return layout
