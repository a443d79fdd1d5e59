"""Fixtures of the pipeline's tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place for converted models: several tests run the shipped bundle, and converting it takes a while."""
    return tmp_path_factory.mktemp("engine-cache")
