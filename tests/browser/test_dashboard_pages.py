"""The pages in a real browser: legible for everybody, up to date by themselves, and actions that ask once."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from rtseg_daemon.config.web import Role
from rtseg_daemon.ledger import jobs
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.web.place import Place
from tests.came_back import come_back
from tests.chromium import chromium, complaints, place_on_a_port, served, visitor
from tests.filled import Clinic
from tests.unit.web.pages.test_hostile_names import HOSTILE

pytestmark = pytest.mark.browser

JOBS = 24
HELD, LAST = JOBS - 5, JOBS
PATHS = {
    "now": "/",
    "worklist": "/worklist",
    "cases": "/cases",
    "case": f"/cases/{LAST}",
    "files": f"/cases/{LAST}/files",
    "question": f"/cases/{HELD}/release",
    "bundles": "/bundles",
    "quality": "/quality",
    "audit": "/audit?all=1",
    "about": "/about",
}


@dataclass
class Clinics:
    """A browser, and a clinic's dashboard that it looks at."""

    browser: Browser
    place: Place
    address: str
    troubles: list[str] = field(default_factory=list)

    def page(self, role: Role = Role.PHYSICIST, path: str = "/", **options: Any) -> Page:
        page = visitor(self.browser, self.place, self.address, role, **options).new_page()
        self.troubles = complaints(page)
        page.goto(self.address + path)
        return page


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinics]:
    place = place_on_a_port(tmp_path_factory.mktemp("clinic"))
    Clinic(place.engine, place.layout, place.now(), jobs=JOBS, route="all", bundle="tiny").fill()
    come_back(place.engine)
    with chromium() as browser, served(place) as address:
        yield Clinics(browser, place, address)
    place.engine.dispose()


def violations(page: Page) -> list[str]:
    """What axe finds: the rule, and where it is broken."""
    found = Axe().run(page)["violations"]
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found]


def what_happened(place: Place, job_id: int, what: str) -> list[tuple[str, str]]:
    with reading(place.engine) as session:
        found = [one for one in events_of(session, "job", job_id) if one.what == what]
        return [(one.who, str(one.detail.get("why", ""))) for one in found]


@pytest.mark.parametrize(("scheme", "width", "height"), [("light", 1280, 720), ("dark", 768, 1024)])
def test_axe_finds_no_violation_and_no_script_fails_on_any_page(
    clinic: Clinics, scheme: Any, width: int, height: int
) -> None:
    """On a tablet tables scroll, and what scrolls must be reached by the keyboard."""
    page = clinic.page(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": height})
    found = {}
    for name, path in PATHS.items():
        page.goto(clinic.address + path)
        expect(page.locator("h1")).to_be_visible()
        found[name] = violations(page)
    assert found == {name: [] for name in PATHS}
    assert clinic.troubles == []
    page.context.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (768, 1024)])
def test_no_page_is_wider_than_a_small_screen_or_a_tablet(clinic: Clinics, width: int, height: int) -> None:
    page = clinic.page()
    page.set_viewport_size({"width": width, "height": height})
    for path in PATHS.values():
        page.goto(clinic.address + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.context.close()


def test_a_page_is_up_to_date_within_a_second_without_being_loaded_anew(clinic: Clinics) -> None:
    page = clinic.page()
    expect(page.locator("#live")).to_have_text("live")
    page.evaluate("window.same = true")
    before = int(page.locator(".tile.state-queued .count").inner_text())
    with writing(clinic.place.engine) as session:
        claimed = jobs.claim_job(session, "worker-0-1")
        assert claimed is not None
    began = time.monotonic()
    expect(page.locator(".tile.state-queued .count")).to_have_text(str(before - 1))
    took = time.monotonic() - began
    assert page.evaluate("window.same") is True
    assert took < 1.0 + 2.0, "a second, and what a crowded machine takes"
    page.context.close()


def test_a_pointer_that_rests_on_a_cases_link_has_its_images_read(clinic: Clinics) -> None:
    page = clinic.page(path="/cases")
    link = page.locator(f'a[href="/cases/{LAST}"]').first
    with page.expect_response(lambda response: response.url.endswith(f"/cases/{LAST}/ahead")) as answered:
        link.hover()
    assert answered.value.status == 204
    page.context.close()


def test_a_release_is_asked_in_a_dialog_needs_a_reason_and_is_in_the_events(clinic: Clinics) -> None:
    page = clinic.page(path="/worklist")
    page.get_by_role("link", name=f"Release job {HELD}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("You answer for it with your name and reason")
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("link", name=f"Release job {HELD}")).to_be_focused()
    page.get_by_role("link", name=f"Release job {HELD}").click()
    dialog.get_by_role("button", name="Release").click()
    assert page.url.endswith("/worklist"), "the browser asks for the reason first"
    dialog.get_by_label("Why").fill("sides checked on the images")
    with writing(clinic.place.engine) as session:  # no structure set is stored: it goes to the queue
        job = session.get_one(Job, HELD)
        job.rtstruct_path = None
    dialog.get_by_role("button", name="Release").click()
    expect(page.locator(".done")).to_contain_text("released")
    assert what_happened(clinic.place, HELD, "released") == [("a.physicist", "sides checked on the images")]
    page.context.close()


def test_everything_can_be_done_without_a_script(clinic: Clinics) -> None:
    page = clinic.page(path=f"/cases/{LAST - 2}", java_script_enabled=False)
    page.get_by_role("link", name="Cancel").click()
    page.get_by_label("Why").fill("sent twice")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".done")).to_contain_text("cancelled")
    assert what_happened(clinic.place, LAST - 2, "cancelled") == [("a.physicist", "sent twice")]
    page.context.close()


def test_two_roles_see_what_they_may(clinic: Clinics) -> None:
    viewer, physicist = clinic.page(Role.VIEWER, "/worklist"), clinic.page(Role.PHYSICIST, "/worklist")
    expect(viewer.locator("[data-ask]")).to_have_count(0)
    assert physicist.locator("[data-ask]").count() > 0
    viewer.goto(f"{clinic.address}/cases/{LAST}/rerun")
    expect(viewer.get_by_role("alert")).to_contain_text("needs the role operator")
    for page in (viewer, physicist):
        page.context.close()


def test_the_keyboard_reaches_the_content_first_and_shows_where_it_is(clinic: Clinics) -> None:
    page = clinic.page(path="/worklist")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    assert outline == "solid"
    page.context.close()


def test_a_strangers_markup_runs_nothing_in_the_browser(clinic: Clinics, tmp_path: Path) -> None:
    place, text = place_on_a_port(tmp_path), HOSTILE["markup"]
    Clinic(place.engine, place.layout, place.now(), 12, patient=text, text=text).fill()
    with served(place) as address:
        page = visitor(clinic.browser, place, address, Role.PHYSICIST).new_page()
        said: list[str] = []
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        troubles = complaints(page)
        for path in ("/", "/worklist", "/cases", "/cases/12", "/audit?all=1"):
            page.goto(address + path)
            expect(page.locator("h1")).to_be_visible()
            assert page.locator("img[src='x'], main script").count() == 0
        assert (said, troubles) == ([], [])
        page.context.close()
    place.engine.dispose()
