"""The made-up patient: repeatable, different for each seed, complete, and a proper CT series on disk."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from rtseg_daemon.anatomy.volume import Array, Volume
from rtseg_daemon.demo.phantom import Template, load_template, make_phantom, write_series
from rtseg_daemon.segment.body import body_mask

ORGANS = ("Brainstem", "SpinalCord", "Parotid_L", "Parotid_R", "Bone_Mandible", "Larynx", "Esophagus")
Made = tuple[Volume, dict[str, Array]]


@pytest.fixture(scope="module")
def phantom() -> Made:
    return make_phantom(3, matrix=128)


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template()


def test_template_is_small_and_holds_every_organ(template: Template) -> None:
    path = Path(__file__).parents[3] / "rtseg_daemon" / "demo" / "data" / "template.npz"
    assert path.stat().st_size <= 3_000_000
    assert set(template.shares) == set(ORGANS)
    assert template.hu.array.max() > 900
    assert template.hu.array.min() == -1000


def test_same_seed_same_phantom_other_seed_another(phantom: Made) -> None:
    again, masks = make_phantom(3, matrix=128)
    assert np.array_equal(again.array, phantom[0].array)
    assert all(np.array_equal(masks[name], phantom[1][name]) for name in ORGANS)
    other, _ = make_phantom(4, matrix=128)
    assert float(np.abs(other.array.astype(int) - phantom[0].array).mean()) > 20


def test_organs_are_disjoint_and_of_plausible_volume(phantom: Made, template: Template) -> None:
    volume, masks = phantom
    assert int(np.sum(list(masks.values()), axis=0).max()) == 1
    for name, mask in masks.items():
        average = float((template.shares[name] >= 0.5).sum()) * template.hu.voxel_ml
        assert 0.6 * average < float(mask.sum()) * volume.voxel_ml < 1.6 * average, name


def test_left_lies_to_the_left_and_up_is_up(phantom: Made) -> None:
    _, masks = phantom
    centre = {name: np.argwhere(mask).mean(axis=0) for name, mask in masks.items()}
    assert centre["Parotid_L"][2] > centre["SpinalCord"][2] > centre["Parotid_R"][2]
    assert centre["Brainstem"][0] > centre["Larynx"][0] > centre["Esophagus"][0]
    assert centre["Larynx"][1] < centre["SpinalCord"][1]


def test_mandible_is_bone_and_couch_is_no_body(phantom: Made) -> None:
    volume, masks = phantom
    assert float(volume.array[masks["Bone_Mandible"]].mean()) > 400
    body = body_mask(volume)
    rear = np.flatnonzero(body.any(axis=(0, 2)))[-1]
    behind = volume.array[:, rear + 1 :, 64]
    assert (behind > -350).any()
    assert all(body[mask].mean() > 0.99 for mask in masks.values())


def test_series_reads_back_as_the_volume(phantom: Made, tmp_path: Path) -> None:
    volume, _ = phantom
    paths = write_series(volume, tmp_path, seed=3)
    slices = [pydicom.dcmread(path) for path in paths]
    assert len(slices) == volume.shape[0]
    assert len({ds.SOPInstanceUID for ds in slices}) == len(slices)
    assert len({(ds.SeriesInstanceUID, ds.FrameOfReferenceUID, ds.PatientID) for ds in slices}) == 1
    heights = [float(ds.ImagePositionPatient[2]) for ds in slices]
    assert np.allclose(np.diff(heights), volume.spacing_mm[0])
    hu = np.stack([ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept) for ds in slices])
    assert np.array_equal(hu, volume.array)


def test_uids_come_from_the_seed_alone(phantom: Made, tmp_path: Path) -> None:
    volume, _ = phantom
    first = pydicom.dcmread(write_series(volume, tmp_path / "a", seed=3)[0], stop_before_pixels=True)
    again = pydicom.dcmread(write_series(volume, tmp_path / "b", seed=3)[0], stop_before_pixels=True)
    other = pydicom.dcmread(write_series(volume, tmp_path / "c", seed=4)[0], stop_before_pixels=True)
    assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert max(len(ds.SOPInstanceUID) for ds in (first, other)) <= 64
