"""What is planned about a series, from a look at it alone: no ledger, no file."""

from dataclasses import replace

import pytest

from rtseg_daemon.assemble.completeness import Carrier, Next, Patience, SeriesFacts, Slice
from rtseg_daemon.assemble.look import Look
from rtseg_daemon.assemble.plan import Plan, plan_for
from rtseg_daemon.assemble.reconstructions import Candidate
from rtseg_daemon.config.sections import Route
from rtseg_daemon.ledger.states import Ending

PATIENCE = Patience(quiet=30, gap=120, abandon=3600)
ROUTE = Route.model_validate({"name": "r", "match": {}, "bundle": ["one", "two"], "prefer": ["soft"]})
WHOLE = SeriesFacts(tuple(Slice(3.0 * k) for k in range(20)), 20, 30.0, (Carrier(Ending.RELEASED, 1),))
QUIET = Look(7, 1000.0, 20, WHOLE, ROUTE)
COMING = replace(QUIET, facts=replace(WHOLE, silence_seconds=29.9))


def rivals(silence_seconds: float) -> tuple[Candidate, ...]:
    return Candidate(7, "bone", 1.0, 30.0), Candidate(8, "soft tissue", 1.0, silence_seconds)


def test_a_whole_quiet_series_is_closed_and_makes_a_job_of_each_bundle() -> None:
    plan = plan_for(QUIET, PATIENCE)
    assert (plan.decision.next, plan.left_alone, plan.jobs) == (Next.COMPLETE, "", ("one", "two"))


def test_nothing_is_written_about_a_series_that_is_still_coming() -> None:
    assert plan_for(COMING, PATIENCE) == Plan()
    assert not Plan().writes


def test_a_job_that_newer_slices_overtook_is_held_while_they_come() -> None:
    plan = plan_for(replace(COMING, overtaken=(3,)), PATIENCE)
    assert (plan.hold_jobs, plan.closes, plan.writes) == (True, False, True)


def test_a_reconstruction_that_still_comes_delays_the_choice() -> None:
    assert plan_for(replace(QUIET, rivals=rivals(29.9)), PATIENCE) == Plan()


def test_a_series_beside_a_preferred_one_is_closed_without_a_job() -> None:
    plan = plan_for(replace(QUIET, rivals=rivals(30.0)), PATIENCE)
    assert plan.closes
    assert (plan.jobs, plan.left_alone) == ((), "another reconstruction of the scan is preferred: series 8")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"route": None}, "no route matches"),
        ({"facts": replace(WHOLE, slices=())}, "it holds only localizers, reports or screens"),
    ],
)
def test_a_series_without_route_or_images_is_closed_without_a_job(change: dict[str, object], why: str) -> None:
    plan = plan_for(replace(QUIET, **change), PATIENCE)  # type: ignore[arg-type]
    assert (plan.closes, plan.left_alone, plan.jobs) == (True, why, ())


def test_a_series_given_up_is_held_with_its_reasons_and_has_its_jobs() -> None:
    broken = replace(WHOLE, carriers=(Carrier(Ending.ABORTED, 1),), silence_seconds=3600.0)
    plan = plan_for(replace(QUIET, facts=broken), PATIENCE)
    assert (plan.decision.next, plan.jobs) == (Next.HOLD, ("one", "two"))
    assert plan.decision.reasons == ("its transfer broke off and was not sent again",)


def test_a_refused_image_is_told_before_the_series_is_closed_and_once() -> None:
    lacking = replace(QUIET, facts=replace(WHOLE, refused=1, silence_seconds=3600.0), untold=True)
    assert plan_for(lacking, PATIENCE) == Plan(alarm=True)
    told = plan_for(replace(lacking, untold=False), PATIENCE)
    assert (told.decision.next, told.alarm) == (Next.HOLD, False)


def test_a_patient_of_the_canarys_share_gets_its_jobs() -> None:
    values = {"name": "r", "match": {}, "bundle": "one", "canary": {"bundle": "one@2", "share": 0.5}}
    route = Route.model_validate(values)
    made = {plan_for(replace(QUIET, route=route, patient=f"P{number}"), PATIENCE).jobs for number in range(20)}
    assert made == {("one",), ("one@2",)}
