"""A configuration and its storage, with nothing running; one place for converted models."""

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


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for converted models: several tests run the shipped bundle, and converting it takes a while."""
    return tmp_path_factory.mktemp("engine-cache")
