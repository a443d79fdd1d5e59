"""Two versions on the same live cases: which cases are paired, and what a version must show before it may serve."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from rtseg_daemon.bundles import Bundle, load_bundle
from rtseg_daemon.config.sections import Promotion
from rtseg_daemon.ledger.engine import reading, writing
from rtseg_daemon.ledger.feedback_tables import ReturnedRoi
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.upkeep.comparing import comparison
from rtseg_daemon.upkeep.promotion import objections, summary
from tests.compared import Organ, live_case, live_cases
from tests.tiny import make_bundle

BETTER, WORSE = Organ(0.9, 0.80, 0.84), Organ(0.9, 0.80, 0.75)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    models: Path = tmp_path_factory.mktemp("models")
    make_bundle(models, members=1)
    make_bundle(models, version="2.0")
    return load_bundle(models, "tiny"), load_bundle(models, "tiny@2.0")


@pytest.fixture
def digests(versions: tuple[Bundle, Bundle]) -> tuple[str, str]:
    return versions[0].digest, versions[1].digest


def asked(ledger: Engine, versions: tuple[Bundle, Bundle]) -> dict[str, Any]:
    with reading(ledger) as session:
        return comparison(session, *versions)


def test_cases_of_both_are_paired_per_organ_and_scanner(
    ledger: Engine, versions: tuple[Bundle, Bundle], digests: tuple[str, str]
) -> None:
    live_case(ledger, 1, digests, {"Brainstem": BETTER, "SpinalCord": WORSE}, scanner="GE X")
    live_case(ledger, 2, digests, {"Brainstem": BETTER, "SpinalCord": Organ(0.5)}, scanner="SIEMENS Y", patient="P1")
    shape = asked(ledger, versions)
    assert (shape["cases"], shape["patients"], shape["approved"]) == (2, 1, 2)
    assert (shape["a"]["version"], shape["b"]["version"]) == ("1.0", "2.0")
    brainstem, cord = shape["organs"]
    assert brainstem["approved"]["difference"]["dsc"] | {"low": None, "high": None} == {
        "count": 2,
        "mean": 0.04,
        "low": None,
        "high": None,
    }
    assert (cord["approved"]["cases"], cord["between"]["dsc"]["count"]) == (1, 2)
    assert [one["scanner"] for one in shape["scanners"]] == ["GE X", "SIEMENS Y"]
    assert shape["most_different"][0] | {"dsc": 0} == shape["most_different"][0] | {"organ": "SpinalCord", "dsc": 0}
    assert shape["most_different"][0]["series"] == 2


def test_a_contour_that_was_left_as_it_was_judges_nobody(
    ledger: Engine, versions: tuple[Bundle, Bundle], digests: tuple[str, str]
) -> None:
    live_case(ledger, 1, digests, {"Brainstem": Organ(0.9, 1.0, 0.9)})
    (brainstem,) = asked(ledger, versions)["organs"]
    assert (brainstem["approved"]["cases"], brainstem["approved"]["untouched"]) == (0, 1)


@pytest.mark.parametrize("why", ["in doubt", "cancelled", "looked at only", "another version"])
def test_what_is_no_fair_case_of_both_is_left_out(
    ledger: Engine, versions: tuple[Bundle, Bundle], digests: tuple[str, str], why: str
) -> None:
    a, b = live_case(ledger, 1, digests, {"Brainstem": BETTER})
    with writing(ledger) as session:
        if why == "in doubt":
            session.get_one(Series, 1).releasable = False
        elif why == "cancelled":
            session.get_one(Job, a).state = JobState.CANCELLED
        elif why == "looked at only":
            session.get_one(Job, a).no_send = True
        else:
            session.get_one(Job, b).bundle_digest = "0" * 64
    assert asked(ledger, versions)["cases"] == 0


def test_an_approved_contour_that_counts_no_more_judges_nobody(
    ledger: Engine, versions: tuple[Bundle, Bundle], digests: tuple[str, str]
) -> None:
    live_case(ledger, 1, digests, {"Brainstem": BETTER})
    with writing(ledger) as session:
        session.query(ReturnedRoi).one().counts = False
    (brainstem,) = asked(ledger, versions)["organs"]
    assert (brainstem["cases"], brainstem["approved"]["cases"]) == (1, 0)


def test_a_bundle_in_a_joined_structure_set_is_compared_too(
    ledger: Engine, versions: tuple[Bundle, Bundle], digests: tuple[str, str]
) -> None:
    live_case(ledger, 1, (f"{digests[0]}+{'9' * 64}", digests[1]), {"Brainstem": BETTER})
    assert asked(ledger, versions)["cases"] == 1


def test_candidates_that_were_held_or_failed_are_counted(
    ledger: Engine, versions: tuple[Bundle, Bundle], digests: tuple[str, str]
) -> None:
    states = (JobState.HELD, JobState.FAILED, JobState.SEGMENTED)
    for number, state in enumerate(states, 1):
        _, b = live_case(ledger, number, digests, {"Brainstem": BETTER})
        with writing(ledger) as session:
            session.get_one(Job, b).state = state
    shape = asked(ledger, versions)
    assert shape["shadow_jobs"] == {"HELD": 1, "FAILED": 1, "SEGMENTED": 1}
    assert (shape["cases"], shape["held"]) == (2, {"a": 0, "b": 1})


def test_thirty_measured_cases_without_a_worse_organ_may_serve(
    ledger: Engine, versions: tuple[Bundle, Bundle], digests: tuple[str, str]
) -> None:
    live_cases(ledger, digests, [{"Brainstem": BETTER}] * 29)
    live_case(ledger, 30, digests, {"Brainstem": BETTER}, measured=False)
    (told,) = objections(asked(ledger, versions), Promotion())
    assert told.startswith("it has 29 shadow cases that were compared, and 30 are demanded")
    live_case(ledger, 31, digests, {"Brainstem": BETTER})
    shape = asked(ledger, versions)
    assert list(objections(shape, Promotion())) == []
    assert summary(shape) == "30 shadow cases against 1.0, 30 of them approved"


@pytest.mark.parametrize(("b", "may"), [(0.785, True), (0.775, False)])
def test_an_organ_may_fall_by_the_margin_and_no_more(
    ledger: Engine, versions: tuple[Bundle, Bundle], digests: tuple[str, str], b: float, may: bool
) -> None:
    live_cases(ledger, digests, [{"Brainstem": BETTER, "SpinalCord": Organ(0.9, 0.80, b)}] * 3)
    found = list(objections(asked(ledger, versions), Promotion(shadow_cases=3, margin=0.02)))
    expected = "SpinalCord is worse: Dice -0.025 [-0.025 to -0.025] on 3 approved cases, and the margin is 0.02 and"
    assert found == [] if may else found[0].startswith(expected)


def test_without_an_approved_contour_nobody_knows_unless_the_site_asks_for_none(
    ledger: Engine, versions: tuple[Bundle, Bundle], digests: tuple[str, str]
) -> None:
    live_cases(ledger, digests, [{"Brainstem": Organ()}, {"Brainstem": Organ(0.9, 1.0, 0.9)}])
    shape = asked(ledger, versions)
    (told,) = objections(shape, Promotion(shadow_cases=2))
    assert "none of its shadow cases has an approved contour that a person edited" in told
    assert list(objections(shape, Promotion(shadow_cases=2, approved=False))) == []


def test_a_candidate_that_lacks_an_organ_may_not_take_the_place(
    ledger: Engine, versions: tuple[Bundle, Bundle]
) -> None:
    serving, candidate = versions
    fewer = candidate.model_copy(update={"classes": candidate.classes[:-1]})
    shape = asked(ledger, (serving, fewer))
    assert "it does not contour Parotid_L, which the serving version does" in list(
        objections(shape, Promotion(shadow_cases=0, approved=False))
    )
