"""Whose an object is, in digests: equal however it is written, and nothing of the patient in them."""

from pydicom import Dataset

from rtseg_daemon.dicom.person import Person, person_of


def whose(identifier: str = "4711", name: str = "Müller^Änne", born: str = "19600101", salt: str = "1.2") -> Person:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = identifier, name, born
    return person_of(dataset, salt)


def test_spellings_of_one_patient_are_one_person() -> None:
    assert whose() == whose(identifier="4711 ", name="MULLER, Anne")
    assert whose() == whose(name="Änne Müller^")


def test_other_patients_are_told_apart() -> None:
    assert whose().identifier != whose(identifier="4712").identifier
    assert whose().identifier != whose(identifier="04711").identifier
    assert not whose().names & whose(name="Schmidt^Eva").names
    assert whose().born != whose(born="19610101").born


def test_digests_of_two_series_do_not_compare_and_hold_no_words() -> None:
    assert whose().identifier != whose(salt="1.3").identifier
    document = str(whose().document()).lower()
    assert not any(word in document for word in ("4711", "ller", "nne", "1960"))
    assert Person.of_document(whose().document()) == whose()


def test_what_is_not_there_is_empty() -> None:
    assert person_of(Dataset(), "1.2") == Person("", frozenset(), "")
