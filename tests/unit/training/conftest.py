"""A made-up patient as a case, and a recipe small enough to learn it by heart."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rtseg_training.learn.prepared import Prepared, prepare
from rtseg_training.learn.recipe import Augment, Loss, Member, Optimizer, Recipe, Schedule
from rtseg_training.sets.cases import Case, make_case, save_case
from rtseg_training.sets.manifest import write_manifest

from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.demo.phantom import make_phantom

ORGANS = ["Brainstem", "SpinalCord", "Parotid_L", "Parotid_R", "Bone_Mandible"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def phantom() -> tuple[Volume, dict[str, Array]]:
    volume, masks = make_phantom(1, matrix=128)
    return volume, {name: masks[name] for name in ORGANS}


@pytest.fixture(scope="session")
def case(phantom: tuple[Volume, dict[str, Array]]) -> Case:
    return make_case("phantom1", *phantom)


def tiny_recipe(**changes: object) -> Recipe:
    """Five organs at 5 x 8 x 8 mm in one window; `changes` as keyword arguments of Recipe."""
    still = Augment(flip=0.5, rotate_deg=0, scale=0, elastic_mm=0, noise_hu=10, shift_hu=0, contrast=0, blur=0)
    recipe = Recipe(
        name="tiny",
        arguments={"width": 8},
        classes=ORGANS,
        spacing_mm=(5.0, 8.0, 8.0),
        in_plane="sample",
        patch=(40, 24, 24),
        extent_mm=(200.0, 192.0, 192.0),
        jitter=(0, 0, 0),
        loss=Loss(alpha=1.0),
        optimizer=Optimizer(lr=5e-3),
        schedule=Schedule(warmup=10),
        augment=still,
        steps=120,
        ema=0.9,
        precision="fp32",
        validate_every=1000,
        members=[
            Member(name="a", seed=1),
            Member.model_validate(
                {"name": "b", "seed": 2, "start": "a", "intensity": ["SLF2"], "loss": {"alpha": 0.5}}
            ),
        ],
    )
    return recipe.model_copy(update=changes)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return tiny_recipe()


@pytest.fixture(scope="session")
def prepared(case: Case, recipe: Recipe) -> Prepared:
    return prepare(case, recipe)


@pytest.fixture(scope="session")
def data_set(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_manifest(folder, [save_case(case, folder)], "phantoms", [])
    return folder


@pytest.fixture(scope="session")
def held_out(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same patient, scanned again: other noise."""
    folder = tmp_path_factory.mktemp("held-out")
    noisy = case.ct.with_array(case.ct.array + np.int16(1))
    write_manifest(folder, [save_case(replace(case, name="phantom2", ct=noisy), folder)], "phantoms", [])
    return folder


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """No file of this process can grow past `size` bytes, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_recipe(recipe: Recipe, path: Path) -> Path:
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    return path


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bit for bit the same tensors."""
    return a.keys() == b.keys() and all(np.array_equal(a[k].numpy(), b[k].numpy()) for k in a)
