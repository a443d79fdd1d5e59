"""A tree with one CT and the structure set drawn on it."""

import shutil
from pathlib import Path

import pytest

from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.demo.phantom import make_phantom, write_series
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, write_dataset
from tests.structure_sets import by_a_person, organ_of, tiny_bundle
from tests.unit.training.sets.trees import ORGANS


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Volume, dict[str, Array]]:
    """A tree with one CT deep inside and a structure set beside it, written from true masks."""
    tree = tmp_path_factory.mktemp("tree")
    volume, masks = make_phantom(2, matrix=64)
    paths = write_series(volume, tree / "2026" / "plan" / "ct", seed=2)
    series = load_series(paths)
    organs = [organ_of(name, masks[name], volume) for name in ORGANS]
    bundle = tiny_bundle(*ORGANS)
    dataset = build_rtstruct(series, organs, [bundle], derive_identity(series, bundle.digest, 1))
    by_a_person(dataset)
    write_dataset(dataset, tree / "rs.dcm")
    return tree, volume, masks


@pytest.fixture
def tree(source: tuple[Path, Volume, dict[str, Array]], tmp_path: Path) -> Path:
    shutil.copytree(source[0], tmp_path / "tree")
    return tmp_path / "tree"
