"""A bundle knows for good what it learned and was calibrated on: none of it measures the bundle again."""

from pathlib import Path

import pytest
from rtseg_training.bundle.known_cases import (
    refuse_known_cases,
    refuse_learned_cases,
    with_calibrated,
    with_learned,
)
from rtseg_training.errors import CaseError
from rtseg_training.sets.joined import Listed
from rtseg_training.sets.manifest import Entry

from rtseg_daemon.bundles import Bundle
from tests.structure_sets import tiny_bundle


def entry(name: str, sha256: str, patient: str = "") -> Entry:
    return {"name": name, "sha256": sha256, "patient": patient}


def case(name: str, sha256: str, patient: str = "") -> Listed:
    return Listed(Path("set"), entry(name, sha256, patient))


@pytest.fixture
def bundle() -> Bundle:
    learned = with_learned(tiny_bundle("Larynx"), [entry("ct_1", "aa", "p1")])
    return with_calibrated(learned, [entry("pt_2", "bb", "p2")])


def test_a_new_case_of_a_new_patient_passes(bundle: Bundle) -> None:
    refuse_known_cases(bundle, [case("pt_1", "cc", "p3"), case("pt_2", "dd")])


@pytest.mark.parametrize("one", [case("x", "aa"), case("ct_1", "ee"), case("x", "ff", "p1")])
def test_a_learned_case_is_refused_by_its_bytes_its_ct_or_its_patient(bundle: Bundle, one: Listed) -> None:
    with pytest.raises(CaseError, match=r"han-oar 1\.2\.3 has learned case .* of set, or another one of its patient"):
        refuse_known_cases(bundle, [one])
    with pytest.raises(CaseError, match="give cases that it does not know"):
        refuse_learned_cases(bundle, [one])


@pytest.mark.parametrize("one", [case("x", "bb"), case("x", "ff", "p2")])
def test_what_it_was_calibrated_on_may_calibrate_it_anew_and_never_measures_it(bundle: Bundle, one: Listed) -> None:
    refuse_learned_cases(bundle, [one])
    with pytest.raises(CaseError, match="was calibrated on case x"):
        refuse_known_cases(bundle, [one])


def test_what_is_known_only_grows_and_tells_no_name(bundle: Bundle) -> None:
    more = with_calibrated(with_learned(bundle, [entry("ct_9", "zz", "p9")]), [entry("y", "yy")])
    assert set(bundle.learned.split()) < set(more.learned.split())
    assert set(bundle.calibrated_on.split()) < set(more.calibrated_on.split())
    assert not any(word in more.learned + more.calibrated_on for word in ("ct_", "p1", "aa", "pt_2"))


def test_what_the_members_began_with_counts_as_learned() -> None:
    chain = {"trunk": {"learned": [("ct_7", "77", "p7")]}}
    found = with_learned(tiny_bundle("Larynx"), [], chain)
    with pytest.raises(CaseError, match="has learned case x"):
        refuse_known_cases(found, [case("x", "00", "p7")])
