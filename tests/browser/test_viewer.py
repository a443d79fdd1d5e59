"""The viewer in a real browser, with a real patient: what is on the page is compared with the files themselves."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from axe_core_python.sync_playwright import Axe
from numpy.typing import NDArray
from playwright.sync_api import Page, expect
from pydicom import Dataset, dcmread

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.web.place import Place
from tests.chromium import chromium, complaints, place_on_a_port, served, visitor
from tests.structure_sets import patients
from tests.synthetic import write_series
from tests.viewed import doubt_around, drawn_organ, stored_job, stored_series

pytestmark = [pytest.mark.browser, pytest.mark.patients]

ORGANS = ("Brainstem", "SpinalCord", "Parotid_L", "Parotid_R", "Bone_Mandible")
DOUBTFUL = {"Parotid_R": (0.2, 0.5), "Brainstem": (0.6, 1.0)}
"""Part of the organ's length that its line names."""


@dataclass
class Looked:
    """A patient in the daemon's storage, and the page that shows the first of three results."""

    place: Place
    page: Page
    address: str
    job: int
    rerun: int
    damaged: int
    ct: Path
    slices: dict[str, tuple[int, int]]
    troubles: list[str]

    def structure_set(self, job: int) -> Dataset:
        return dcmread(self.place.layout.result(job) / "RTSTRUCT.dcm")

    def images(self) -> list[Dataset]:
        """The CT as it is stored, inferior to superior."""
        return sorted((dcmread(path) for path in self.ct.iterdir()), key=lambda one: one.ImagePositionPatient[2])

    def open(self, path: str = "") -> Page:
        self.page.goto(f"{self.address}/cases/{self.job}{path}")
        expect(self.page.locator("[data-viewer][data-ready]")).to_be_attached()
        return self.page

    def at(self, slice_number: int, plane: str = "axial") -> None:
        """Wait until this slice is in view, pixels included."""
        expect(self.page.locator(f'[data-viewer][data-shown="{plane}:{slice_number}"]')).to_be_attached()

    def go_to(self, slice_number: int) -> None:
        slider = self.page.locator("[data-slider]")
        slider.evaluate(
            "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', {bubbles: true})); }", slice_number
        )


def patient_volume(folder: Path) -> Volume:
    """The patient's CT in patient axes, HU."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(folder / "ct.nii.gz")), "LPS")
    x, y, z = image.GetSpacing()
    ox, oy, oz = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image).astype(np.int16), (z, y, x), (oz, oy, ox))


def mask_of(folder: Path, name: str) -> NDArray[np.bool_]:
    image = sitk.DICOMOrient(sitk.ReadImage(str(folder / "segmentations" / f"{name}.nii.gz")), "LPS")
    return np.asarray(sitk.GetArrayFromImage(image) > 0)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    """The patient lies prone, so that stored rows and columns run against the picture's."""
    source = patients("openkbp", "validation", "pt_201")
    folder = tmp_path_factory.mktemp("viewed")
    place = place_on_a_port(folder)
    volume = patient_volume(source)
    files = write_series(folder / "ct", volume, "HFP", shuffle=True)
    series = load_series(files)
    masks = {name: mask_of(source, name) for name in ORGANS}
    slices = {}
    for name, (low, high) in DOUBTFUL.items():
        held = np.flatnonzero(masks[name].any(axis=(1, 2))) + 1
        slices[name] = (int(held[int(low * (len(held) - 1))]), int(held[int(high * (len(held) - 1))]))
    number = stored_series(place.engine, place.layout, files, series)
    jobs = []
    for run, shift in ((1, 0), (2, 3), (3, 0)):
        organs = [drawn_organ(n, np.roll(masks[n], shift, 2), series.volume, slices.get(n)) for n in ORGANS]
        doubt = doubt_around(organs, series.volume, 2)
        jobs.append(stored_job(place.engine, place.layout, number, series, organs, doubt, run=run))
    with chromium() as browser, served(place) as address:
        page = visitor(browser, place, address).new_page()
        yield Looked(place, page, address, *jobs, folder / "ct", slices, complaints(page))


PATHS = """(pane) => [...pane.querySelectorAll('path[data-roi]')].map((path) => {
  const m = path.getScreenCTM(), box = pane.getBoundingClientRect();
  return {roi: path.dataset.roi, d: path.getAttribute('d') || '', matrix: [m.a, m.d, m.e - box.left, m.f - box.top]};
})"""


def drawn(page: Page, pane: int = 0) -> dict[str, dict[str, Any]]:
    """The outlines in a picture by ROI, as they stand in its SVG."""
    found = page.locator(".viewer-pane").nth(pane).evaluate(PATHS)
    return {one["roi"]: one for one in found}


def numbers_of(path: str) -> NDArray[np.float64]:
    return np.array(re.findall(r"-?\d+(?:\.\d+)?", path), float)


def contours_in(structure_set: Dataset, name: str, z: float) -> list[NDArray[np.float64]]:
    """Points (x, y) in mm of an ROI's contours at z, from the file alone."""
    numbers = {str(roi.ROIName): roi.ROINumber for roi in structure_set.StructureSetROISequence}
    item = next(i for i in structure_set.ROIContourSequence if i.ReferencedROINumber == numbers[name])
    points = [np.array(c.ContourData, float).reshape(-1, 3) for c in item.ContourSequence]
    return [one[:, :2] for one in points if abs(one[0, 2] - z) < 0.01]


def columns_and_rows(points: NDArray[np.float64], images: list[Dataset]) -> NDArray[np.float64]:
    """Patient mm as (column, row) from the picture's upper left corner, where the patient's right and front meet."""
    first = images[0]
    dy, dx = (float(one) for one in first.PixelSpacing)
    # a prone patient's first pixel is the last of the picture
    left = float(first.ImagePositionPatient[0]) - dx * (first.Columns - 1) - dx / 2
    front = float(first.ImagePositionPatient[1]) - dy * (first.Rows - 1) - dy / 2
    return (points - (left, front)) / (dx, dy)


def test_contours_on_the_page_are_those_of_the_file_within_a_pixel(looked: Looked) -> None:
    page = looked.open()
    images, structure_set = looked.images(), looked.structure_set(looked.job)
    compared = 0
    for number in (looked.slices["Parotid_R"][0], looked.slices["Brainstem"][0], len(images) // 2):
        looked.go_to(number)
        looked.at(number)
        z = float(images[number - 1].ImagePositionPatient[2])
        outlines = drawn(page)
        for name in ORGANS:
            expected = [columns_and_rows(one, images) for one in contours_in(structure_set, name, z)]
            found = [numbers_of(part).reshape(-1, 2) for part in outlines[name]["d"].split("M")[1:]]
            assert len(found) == len(expected), (name, number)
            for one in expected:
                assert min(np.abs(one - other).max() for other in found if len(other) == len(one)) < 0.01
                compared += 1
    assert compared >= 6
    assert looked.troubles == []


PIXELS = """(pane, places) => {
  const canvas = pane.querySelector('canvas'), context = canvas.getContext('2d');
  const dots = canvas.width / pane.clientWidth;
  return places.map(([x, y]) => context.getImageData(Math.round(x * dots), Math.round(y * dots), 1, 1).data[0]);
}"""


def test_the_picture_is_the_ct_with_the_patients_right_on_the_left(looked: Looked) -> None:
    """Grey on the canvas against the stored pixels of the image, at the places where the outlines' matrix puts them."""
    page = looked.open()
    page.locator("[data-fit=whole]").click()
    page.keyboard.press("h")
    number = len(looked.images()) // 2
    looked.go_to(number)
    looked.at(number)
    image = looked.images()[number - 1]
    hu = image.pixel_array[::-1, ::-1].astype(float) + float(image.RescaleIntercept)
    a, d, left, top = drawn(page)["Brainstem"]["matrix"]
    rows, columns = np.meshgrid(np.arange(2, hu.shape[0] - 2, 3), np.arange(2, hu.shape[1] - 2, 3), indexing="ij")
    places = [[left + a * (c + 0.5), top + d * (r + 0.5)] for r, c in zip(rows.flat, columns.flat, strict=True)]
    grey = np.array(page.locator(".viewer-pane").first.evaluate(PIXELS, places), float)
    expected = np.clip((hu[rows, columns].ravel() + 160) / 400, 0, 1) * 255
    mirrored = np.clip((hu[:, ::-1][rows, columns].ravel() + 160) / 400, 0, 1) * 255
    assert np.corrcoef(grey, expected)[0, 1] > 0.97
    assert np.corrcoef(grey, mirrored)[0, 1] < 0.93
    letters = page.locator(".viewer-pane").first.evaluate(
        "(p) => Object.fromEntries([...p.querySelectorAll('.viewer-letter')].map("
        "(t) => [t.textContent, [t.getBoundingClientRect().x, t.getBoundingClientRect().y]]))"
    )
    assert letters["R"][0] < letters["L"][0]
    assert letters["A"][1] < letters["P"][1]


def test_an_organs_worst_slice_is_the_one_of_the_highest_entropy(looked: Looked) -> None:
    """A click on its row goes there, and within what its line names."""
    page = looked.open()
    for name, (low, high) in looked.slices.items():
        page.locator(f'[data-organ="{name}"]').first.click()
        worst = (low + high) // 2  # where the map of this case is highest
        looked.at(worst)
        expect(page.locator("[data-viewer]")).to_have_attribute("data-plane", "axial")
    page.locator('button[data-roi="SpinalCord"]').click()
    assert drawn(page)["SpinalCord"]["d"]


def test_keys_step_through_slices_doubts_windows_and_planes(looked: Looked) -> None:
    page = looked.open()
    page.locator("[data-viewer]").focus()
    looked.go_to(20)
    looked.at(20)
    page.locator("[data-viewer]").focus()
    for key, number in (("ArrowUp", 21), ("PageUp", 31), ("PageDown", 21), ("ArrowDown", 20)):
        page.keyboard.press(key)
        looked.at(number)
    page.keyboard.press("Home")
    named = sorted({k for low, high in looked.slices.values() for k in range(low, high + 1)})
    for number in named[:3]:
        page.keyboard.press("n")
        looked.at(number)
    page.keyboard.press("p")
    looked.at(named[1])
    page.keyboard.press("2")
    expect(page.locator(".viewer-end").first).to_have_text("W 1800 L 400")
    page.keyboard.press("c")
    expect(page.locator("[data-viewer]")).to_have_attribute("data-plane", "coronal")
    page.keyboard.press("a")
    looked.at(named[1])


def test_the_wheel_scrolls_and_a_drag_with_the_right_button_sets_the_window(looked: Looked) -> None:
    page = looked.open()
    looked.go_to(30)
    looked.at(30)
    box = page.locator(".viewer-pane").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.wheel(0, -120)
    looked.at(32)
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + 200, box["y"] + 160, steps=5)
    page.mouse.up(button="right")
    expect(page.locator(".viewer-end").first).not_to_have_text("W 400 L 40")


def test_one_finger_scrolls_and_two_zoom(looked: Looked) -> None:
    """Real touches, as the browser gets them from a tablet."""
    page = looked.open()
    looked.go_to(30)
    looked.at(30)
    box = page.locator(".viewer-pane").first.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": at[0], "y": at[1], "id": number} for number, at in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    touch("touchStart", (x, y))
    for step in range(1, 7):
        touch("touchMove", (x, y - 6 * step))
    touch("touchEnd")
    looked.at(36)
    before = drawn(page)["SpinalCord"]["matrix"][0]
    touch("touchStart", (x - 30, y), (x + 30, y))
    for step in range(1, 7):
        touch("touchMove", (x - 30 - 5 * step, y), (x + 30 + 5 * step, y))
    touch("touchEnd")
    fingers.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert drawn(page)["SpinalCord"]["matrix"][0] == pytest.approx(2 * before, rel=0.02)


def test_coronal_outlines_are_where_the_plane_cuts_the_contours(looked: Looked) -> None:
    page = looked.open()
    page.locator('[data-organ="Brainstem"]').first.click()
    page.keyboard.press("c")
    page.locator("[data-to-plane=coronal]").click()
    root = page.locator("[data-viewer][data-shown^=coronal]")
    expect(root).to_be_attached()
    row = int(str(root.get_attribute("data-slice"))) - 0.5
    images, structure_set = looked.images(), looked.structure_set(looked.job)
    expected = set()
    for k, image in enumerate(images):
        for points in contours_in(structure_set, "Brainstem", float(image.ImagePositionPatient[2])):
            pixels = columns_and_rows(points, images)
            for (x0, y0), (x1, y1) in zip(pixels, np.roll(pixels, -1, axis=0), strict=True):
                if (y0 < row) != (y1 < row):
                    expected.add((len(images) - 1 - k, round(x0 + (row - y0) / (y1 - y0) * (x1 - x0), 2)))
    edges = re.findall(r"M(-?[\d.]+) (\d+)V", drawn(page)["Brainstem"]["d"])
    found = {(int(top), round(float(column), 2)) for column, top in edges}
    assert len(expected) > 10
    assert len(found) == len(expected)
    for line, column in expected:
        assert any(line == top and abs(column - other) < 0.05 for top, other in found)


def test_two_results_lie_side_by_side_and_move_in_lockstep(looked: Looked) -> None:
    page = looked.open(f"?beside={looked.rerun}")
    expect(page.locator(".viewer-pane")).to_have_count(2)
    page.locator("[data-viewer]").focus()
    number = looked.slices["Parotid_R"][0]
    looked.go_to(number)
    looked.at(number)
    page.locator("[data-viewer]").focus()
    page.keyboard.press("ArrowUp")
    looked.at(number + 1)
    page.keyboard.press("+")
    captions = page.locator(".viewer-pane").evaluate_all("(all) => all.map((p) => p.textContent)")
    assert [
        f"job {job}  axial {number + 1}/" in text
        for job, text in zip((looked.job, looked.rerun), captions, strict=True)
    ]
    one, other = drawn(page, 0)["Parotid_R"], drawn(page, 1)["Parotid_R"]
    np.testing.assert_allclose(one["matrix"], other["matrix"], atol=0.01)
    first, second = (numbers_of(d["d"].split("M")[1]).reshape(-1, 2) for d in (one, other))
    np.testing.assert_allclose(second.mean(axis=0) - first.mean(axis=0), (3, 0), atol=0.3)


@pytest.mark.parametrize("path", ["", "beside"])
def test_axe_finds_no_violation_in_the_viewer(looked: Looked, path: str) -> None:
    page = looked.open(f"?beside={looked.rerun}" if path else "")
    page.locator("[data-viewer] details summary").click()
    found = Axe().run(page, {"include": [["[data-viewer]"]]})
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []


def test_an_altered_structure_set_is_told_and_the_ct_is_still_there(looked: Looked) -> None:
    victim = looked.place.layout.result(looked.damaged) / "RTSTRUCT.dcm"
    victim.write_bytes(victim.read_bytes() + b"\0\0")
    page = looked.open(f"?beside={looked.damaged}")
    trouble = page.locator("[data-part=trouble]")
    expect(trouble).to_contain_text("was altered")
    expect(trouble).to_contain_text("doctor")
    expect(page.locator(".viewer-pane")).to_have_count(2)
    assert not any(one["d"] for one in drawn(page, 1).values())
