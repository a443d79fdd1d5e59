"""Every page: whole without a script, with landmarks and headings, and each role sees what it may do."""

import re

import pytest
from starlette.testclient import TestClient

from rtseg_daemon.web.place import Place
from tests.dashboard import browser
from tests.unit.web.pages.conftest import LAST

PAGES = {
    "/": "Now",
    "/worklist": "Worklist",
    "/cases": "Cases",
    f"/cases/{LAST}": f"Job {LAST}",
    f"/cases/{LAST}/files": f"Files of job {LAST}",
    f"/cases/{LAST}/rerun": "Run again",
    "/feedback": "Feedback",
    "/bundles": "Bundles",
    "/quality": "Quality",
    "/audit": "Audit",
    "/about": "About",
}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_and_has_one_heading_navigation_and_main(physicist: TestClient, path: str) -> None:
    answer = physicist.get(path)
    assert answer.status_code == 200
    text = answer.text
    assert PAGES[path] in re.findall(r"<h1.*?</h1>", text, re.DOTALL)[0]
    assert len(re.findall("<h1", text)) == 1
    assert all(landmark in text for landmark in ("<nav aria-label", '<main id="main"', "<footer>", "</html>"))


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_anything_that_the_content_policy_forbids(physicist: TestClient, path: str) -> None:
    text = physicist.get(path).text
    assert not re.search(r"\sstyle=|\son[a-z]+=|<style", text)
    assert all('src="/static/' in script for script in re.findall(r"<script[^>]*>", text))
    assert not re.search(r'(?:src|href)="(?:https?:)?//', re.sub(r'<a href="https://[^"]*">', "", text))


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_without_logging_in(clinic: Place, path: str) -> None:
    answer = browser(clinic).get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=")


def test_now_shows_what_arrives_with_its_gap_and_what_is_up(physicist: TestClient) -> None:
    text = physicist.get("/").text
    assert "96 of 148" in text
    assert "slices are missing, at 77.5, 80.0, 82.5 mm" in text
    assert "the daemon is not running" in text, "no daemon holds this storage"
    assert "RUNNING" in text
    assert "infer" in text
    assert "Received, and no route takes it" in text


def test_a_viewer_is_offered_nothing_that_needs_another_role(viewer: TestClient, physicist: TestClient) -> None:
    assert "data-ask" not in viewer.get("/worklist").text
    assert "data-ask" not in viewer.get(f"/cases/{LAST}").text
    assert "data-ask" in physicist.get("/worklist").text
    assert viewer.get(f"/cases/{LAST}/rerun").status_code == 403


def test_a_case_shows_organs_gates_deliveries_events_and_seconds(physicist: TestClient) -> None:
    text = physicist.get(f"/cases/{LAST}").text
    assert re.search(r'<tr data-organ="Parotid_L" data-flag="(OK|REVIEW|REJECT)" data-slices="\d+-\d+">', text)
    assert re.search(r'aria-label="predicted Dice 0\.\d\d, 90 % interval 0\.\d\d to 0\.\d\d"', text)
    assert re.search(r'aria-label="[\d.]+ seconds in all: read headers', text)
    assert "Larynx touches the last slice" in text
    assert "0x0000" in text
    assert "digest is right" in text
    assert text.index("sent") > 0


def test_about_says_what_it_is_for_and_what_it_is_made_of(physicist: TestClient) -> None:
    text = physicist.get("/about").text
    assert "It is no medical device" in text
    assert "Automation bias" in text
    assert "sqlalchemy" in text


def test_an_unknown_page_a_case_that_is_gone_and_a_bundle_that_is_not_there_are_404(physicist: TestClient) -> None:
    for path in ("/nosuch", "/cases/999999", "/cases/999999/files", "/cases/999999/cancel", "/bundles/nosuch"):
        answer = physicist.get(path)
        assert answer.status_code == 404, path
        assert "<title>Not Found" in answer.text
