"""What strangers write is shown on every page, and does nothing there."""

import re
import unicodedata
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from rtseg_daemon.config.web import Role
from rtseg_daemon.web.pages.words import clean, stranger
from tests.dashboard import logged_in, make_place
from tests.filled import Clinic

HOSTILE = {
    "markup": '"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}',
    "ansi": "\x1b[31mred\x1b]0;title\x07 \x00\x9b2J",
    "bidi": "PAT\u202eTNEITAP\u2066\u200f 1",
    "64 kB": "A" * 65536,
    "lines": "one\r\ntwo\u2028three\n" * 50,
}
PAGES = (
    "/",
    "/worklist",
    "/cases",
    "/cases?patient=%3Cscript%3E&route=%22%3E%3Cscript%3E",
    "/cases/12",
    "/cases/12/files",
    "/cases/12/rerun",
    "/alarms/1/acknowledge",
    "/quality",
    "/audit?all=1&who=%3Cscript%3E",
)


@pytest.fixture(scope="module", params=HOSTILE)
def stranger_there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Somebody who looks at a ledger full of such names."""
    place, text = make_place(tmp_path_factory.mktemp("hostile")), HOSTILE[request.param]
    Clinic(place.engine, place.layout, place.now(), 12, patient=text, text=text, route=text, bundle=text).fill()
    yield logged_in(place, Role.PHYSICIST)
    place.engine.dispose()


def test_every_page_shows_it_harmlessly_and_stays_small(stranger_there: TestClient) -> None:
    for path in PAGES:
        answer = stranger_there.get(path)
        assert answer.status_code == 200, path
        assert "<script>" not in answer.text, path
        assert "onerror=alert(1)>" not in answer.text, path
        assert "49" not in re.findall(r"<bdi>(.*?)</bdi>", answer.text), path
        unseen = {c for c in answer.text if unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t"}
        assert unseen == set(), path
        assert len(answer.content) < 400_000, path


def test_a_name_is_isolated_cut_and_escaped() -> None:
    assert stranger("<b>") == "<bdi>&lt;b&gt;</bdi>"
    assert stranger("") == '<span class="none">–</span>'
    assert len(clean("x" * 65536, 40)) == 40
    assert clean("x" * 65536, 40).endswith("…")
    assert clean("a\u202eb\x1b[1m\u200bc", 40) == "a�b�[1m�c"
    assert clean("دکتر\u200cها", 40) == "دکتر\u200cها", "what a language needs stays"
    assert clean(" two\n lines ", 40) == "two lines"
