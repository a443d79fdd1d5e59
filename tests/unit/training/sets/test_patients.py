"""Whose a case is: two patients under one identifier, one patient under two, and what de-identification leaves."""

import pytest
from rtseg_training.sets.patients import Person, persons_among


def test_two_patients_under_one_id_are_told_by_their_birth_dates() -> None:
    found = persons_among([("ct_a", Person("7", "doe", "19500101")), ("ct_b", Person("7", "roe", "19610203"))])
    assert found.two == {
        "7": "two patients under one PatientID: the birth dates of ct_a and ct_b differ; correct the PatientID in the "
        "archive, import again"
    }


@pytest.mark.parametrize("other", [Person("7", "doe-smith", "19500101"), Person("7", "doe", ""), Person("7")])
def test_another_spelling_of_the_name_is_no_other_patient(other: Person) -> None:
    found = persons_among([("ct_a", Person("7", "doe", "19500101")), ("ct_b", other)])
    assert (found.two, found.notes) == ({}, [])


def test_one_patient_under_two_ids_counts_as_one() -> None:
    a, b = Person("7", "doe", "19500101"), Person("8", "doe", "19500101")
    found = persons_among([("ct_a", a), ("ct_b", b), ("ct_c", Person("9", "roe", "19500101"))])
    assert found.patient(a) == found.patient(b) == "7"
    assert found.patient(Person("9", "roe", "19500101")) == "9"
    assert found.notes == [
        "ct_b and ct_a: one patient under two PatientIDs (name and birth date are the same), they count as one"
    ]


def test_who_was_known_first_stands_for_the_patient() -> None:
    earlier = ("ct_old", Person("8", "doe", "19500101"))
    found = persons_among([earlier, ("ct_a", Person("7", "doe", "19500101"))])
    assert found.patient(Person("7", "doe", "19500101")) == "8"


@pytest.mark.parametrize("person", [Person("8", "doe", ""), Person("8", "", "19500101"), Person("8", "doe", "1951")])
def test_a_name_or_a_birth_date_alone_makes_no_patient_one(person: Person) -> None:
    assert persons_among([("a", Person("7", "doe", "19500101")), ("b", person)]).patient(person) == "8"


def test_placeholders_of_de_identification_make_nobody_one() -> None:
    cases = [(f"ct_{k}", Person(str(k), "anonymous", "19000101")) for k in range(6)]
    found = persons_among(cases)
    assert [found.patient(person) for _, person in cases] == list("012345")
    assert found.notes == ["6 PatientIDs share name and birth date: taken for placeholders, each counts as a patient"]


def test_no_identifier_is_nobody() -> None:
    found = persons_among([("a", Person("", "doe", "19500101")), ("b", Person("7", "doe", "19500101"))])
    assert found.patient(Person("", "doe", "19500101")) == ""
    assert found.notes == []


def test_a_person_is_not_shown() -> None:
    assert repr(Person("7", "doe", "19500101")) == "Person()"
