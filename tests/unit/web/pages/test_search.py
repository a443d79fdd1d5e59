"""Cases: searched, filtered and turned over, page by page."""

import re
from datetime import datetime, timedelta

import pytest
from starlette.testclient import TestClient

from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.found_jobs import Search, find_jobs
from rtseg_daemon.ledger.schema import Series
from rtseg_daemon.web.place import Place
from tests.unit.web.pages.conftest import JOBS, LAST


def numbers(page: str) -> list[int]:
    """The jobs of a list, as it shows them."""
    return [int(one) for one in re.findall(r'<th scope="row"><a href="/cases/(\d+)">', page)]


def test_all_jobs_are_turned_over_without_gap_or_repetition_both_ways(physicist: TestClient) -> None:
    first = physicist.get("/cases").text
    older = re.findall(r'rel="next" href="([^"]+)"', first)[0].replace("&amp;", "&")
    second = physicist.get(older).text
    assert numbers(first) + numbers(second) == list(range(JOBS, 0, -1))
    back = re.findall(r'rel="prev" href="([^"]+)"', second)[0].replace("&amp;", "&")
    assert numbers(physicist.get(back).text) == numbers(first)


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("state=DELIVERED", lambda job: job.state == "DELIVERED"),
        ("flag=REJECT", lambda job: "REJECT" in job.flags.values()),
        ("flag=REVIEW", lambda job: "REVIEW" in job.flags.values() and "REJECT" not in job.flags.values()),
        ("flag=OK", lambda job: set(job.flags.values()) == {"OK"}),
        ("patient=hn-21", lambda job: "HN-21" in job.series.patient_id),
        ("route=head-neck&bundle=han-oar&state=HELD", lambda job: job.state == "HELD"),
        ("route=nosuch", lambda job: False),
    ],
)
def test_a_filter_finds_all_that_are_like_that_and_no_other(
    clinic: Place, physicist: TestClient, query: str, holds: object
) -> None:
    with reading(clinic.engine) as session:
        wanted = [job.id for job in find_jobs(session, Search(), limit=JOBS).jobs if holds(job)]  # type: ignore[operator]
    assert numbers(physicist.get(f"/cases?{query}").text) == wanted[:50]


def test_a_day_counts_from_its_first_to_its_last_moment(clinic: Place, physicist: TestClient) -> None:
    with reading(clinic.engine) as session:
        job = find_jobs(session, Search(older=JOBS // 2)).jobs[0]
        number, day = job.id, datetime.fromtimestamp(job.created_at).date()
    assert number in numbers(physicist.get(f"/cases?from={day}&to={day}").text)
    assert number not in numbers(physicist.get(f"/cases?from={day + timedelta(1)}").text)
    assert number not in numbers(physicist.get(f"/cases?to={day - timedelta(1)}").text)


@pytest.mark.parametrize(
    "query", ["from=yesterday", "to=2026-13-01", "state=GONE", "flag=%3Cb%3E", "from=9999-12-31&to=x"]
)
def test_a_search_that_makes_no_sense_says_so(physicist: TestClient, query: str) -> None:
    answer = physicist.get(f"/cases?{query}")
    assert answer.status_code == 422
    assert 'role="alert"><ul class="faults"' in answer.text
    assert numbers(answer.text) == []


def test_signs_of_the_query_language_are_only_letters(physicist: TestClient) -> None:
    assert numbers(physicist.get("/cases?patient=%25").text) == []
    assert numbers(physicist.get("/cases?patient=H_-").text) == []
    assert numbers(physicist.get("/cases?patient=%5C").text) == []


def test_what_was_searched_for_stands_in_the_form_again(physicist: TestClient) -> None:
    text = physicist.get("/cases?patient=HN-2&state=DELIVERED").text
    assert 'value="HN-2"' in text
    assert '<option value="DELIVERED" selected>' in text


def test_the_newest_job_comes_first(physicist: TestClient) -> None:
    assert numbers(physicist.get("/cases").text)[0] == LAST


def test_letters_of_other_languages_are_found_without_regard_to_case(own: Place) -> None:
    names = {1: "MÜLLER-7", 2: "müller-8", 3: "ИВАНОВ", 4: "MULLER"}
    with writing(own.engine) as session:
        for number, name in names.items():
            session.get_one(Series, number).patient_id = name

    def found(patient: str) -> set[int]:
        with reading(own.engine) as session:
            return {job.id for job in find_jobs(session, Search(patient=patient)).jobs}

    for typed in ("MÜLLER", "müller", "Müller", "üLLer", "ÜLL"):
        assert found(typed) == {1, 2}, typed
    assert found("иванов") == found("Иванов") == {3}
    assert found("\0") == set(), "SQLite reads no further than this, and would find all"
