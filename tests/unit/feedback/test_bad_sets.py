"""Structure sets that are wrong in some way: each is kept and told of, and none counts by accident."""

import time
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from rtseg_daemon.feedback import looking, loop
from rtseg_daemon.feedback.looking import Desk
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.schema import Setting
from tests.clinic import Clinic, encoded, moved, renamed, saying, without, without_references
from tests.synthetic import uid


def counting(clinic: Clinic, number: int) -> set[str]:
    return {name for name, roi in clinic.rois(number).items() if roi.counts}


def test_a_set_of_a_series_unknown_here_is_apart_and_taken_up_when_the_series_comes(clinic: Clinic) -> None:
    known = clinic.deliver(seed=0)
    foreign = clinic.elsewhere(seed=5)
    row = clinic.comes_back(foreign.edited())
    assert (row.state, row.reasons) == ("APART", ["the series that it was drawn on is not known here"])
    assert (row.series_id, row.job_id) == (None, None)
    assert Path(clinic.layout.directory / row.path).is_file()
    late = clinic.deliver(seed=5)
    clinic.work()
    row = clinic.row(row.id)
    assert (row.state, row.series_id) == ("MEASURED", late.series_id)
    assert late.series_id != known.series_id


@pytest.mark.parametrize(
    "other",
    [
        {"PatientID": "SOMEBODY ELSE"},
        {"PatientBirthDate": "19700101"},
        {"PatientName": "Quite^Different"},
        {"PatientID": ""},
    ],
)
def test_another_patient_under_the_same_uids_is_never_paired_and_alarmed(clinic: Clinic, other: dict[str, str]) -> None:
    case = clinic.deliver()
    row = clinic.comes_back(case.edited(saying(**other)))
    assert (row.state, row.series_id, row.job_id) == ("APART", None, None)
    assert "it refers to a series of ours and has" in row.reasons[0]
    assert counting(clinic, row.id) == set()
    [alarm] = clinic.alarms()
    assert "mix-up of patients" in alarm
    assert not any(value and value in alarm for value in (*other.values(), "PHANTOM1"))


def test_a_name_that_is_written_otherwise_is_the_same_patient(clinic: Clinic) -> None:
    case = clinic.deliver()
    row = clinic.comes_back(case.edited(saying(PatientName="TEST, PHANTOM", PatientID="PHANTOM1 ")))
    assert row.state == "MEASURED"
    row = clinic.comes_back(case.edited(saying(PatientName="Married^Test", PatientBirthDate=None)))
    assert row.state == "MEASURED"


def test_contours_off_the_slices_are_not_measured_and_never_count(clinic: Clinic) -> None:
    case = clinic.deliver()
    row = clinic.comes_back(case.edited(moved("Parotid_L", z=1.2)))
    roi = clinic.rois(row.id)["Parotid_L"]
    assert (roi.fit, roi.counts, roi.difference) == (False, False, None)
    assert roi.reasons[0] == "its contours do not lie on the slices of the CT"
    assert row.state == "MEASURED"
    assert counting(clinic, row.id) == {"Brainstem", "Parotid_R"}


def test_a_set_of_which_nothing_fits_the_ct_is_apart_as_a_whole_with_an_alarm(clinic: Clinic) -> None:
    case = clinic.deliver()
    row = clinic.comes_back(case.edited(moved(z=1.2)))
    assert row.state == "APART"
    assert row.reasons == ["none of its organs fits the CT: its contours do not lie on the slices of the CT"]
    assert counting(clinic, row.id) == set()
    assert "cannot be used" in clinic.alarms()[0]


def test_a_registered_second_ct_is_not_taken_for_ours(clinic: Clinic) -> None:
    case, second = clinic.deliver(), clinic.elsewhere(seed=9)

    def on_the_second(dataset: Dataset) -> None:
        """Drawn on the other CT, which a registration brought into the frame of reference of ours."""
        frame = second.ours.ReferencedFrameOfReferenceSequence
        dataset.ReferencedFrameOfReferenceSequence = frame
        dataset.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = uid("frame", 0)
        for mine, theirs in zip(dataset.ROIContourSequence, second.ours.ROIContourSequence, strict=True):
            mine.ContourSequence = theirs.ContourSequence
        dataset.StudyInstanceUID = uid("study", 9)

    row = clinic.comes_back(case.edited(on_the_second))
    assert (row.state, row.series_id) == ("APART", None)
    assert row.reasons == [
        "it lies in the frame of reference of a series of ours, and was drawn on another series and study"
    ]


def test_an_roi_in_another_frame_of_reference_does_not_count(clinic: Clinic) -> None:
    case = clinic.deliver()

    def elsewhere(dataset: Dataset) -> None:
        dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = uid("another frame")

    row = clinic.comes_back(case.edited(elsewhere))
    roi = clinic.rois(row.id)["Brainstem"]
    assert (roi.fit, roi.reasons[0]) == (False, "it lies in another frame of reference than the CT")
    assert counting(clinic, row.id) == {"Parotid_L", "Parotid_R"}


def test_contours_on_images_of_another_series_are_left_out(clinic: Clinic) -> None:
    case = clinic.deliver()

    def partly_elsewhere(dataset: Dataset) -> None:
        for contour in dataset.ROIContourSequence[0].ContourSequence:
            contour.ContourImageSequence[0].ReferencedSOPInstanceUID = uid("of another series")

    row = clinic.comes_back(case.edited(partly_elsewhere))
    roi = clinic.rois(row.id)["Brainstem"]
    assert (roi.fit, roi.counts) == (False, False)
    assert "were drawn on images of another series" in " ".join(roi.reasons)
    assert counting(clinic, row.id) == {"Parotid_L", "Parotid_R"}


def test_three_hundred_rois_are_all_kept_and_only_organs_are_asked_for(clinic: Clinic) -> None:
    case = clinic.deliver()

    def many(dataset: Dataset) -> None:
        for number in range(100, 400):
            dataset.StructureSetROISequence.append(Dataset())
            roi = dataset.StructureSetROISequence[-1]
            roi.ROINumber, roi.ROIName = number, f"PTV_{number}" if number % 2 else f"ring {number}"
            roi.ReferencedFrameOfReferenceUID, roi.ROIGenerationAlgorithm = uid("frame", 0), "MANUAL"

    row = clinic.comes_back(case.edited(many))
    assert (row.state, len(row.rois)) == ("MEASURED", 303)
    assert counting(clinic, row.id) == {"Brainstem", "Parotid_L", "Parotid_R"}


@pytest.mark.parametrize("cut", [7, 500, 4000])
def test_a_truncated_set_is_kept_and_told_and_never_taken_for_a_shorter_one(clinic: Clinic, cut: int) -> None:
    case = clinic.deliver()
    content = encoded(case.edited())
    row = clinic.comes_back(content[:-cut])
    assert row.state == "APART"
    assert "truncated or broken" in row.reasons[0]
    assert (clinic.layout.directory / row.path).read_bytes() == content[:-cut]
    assert "it is kept" in clinic.alarms()[0]


def test_what_is_no_structure_set_or_nested_without_end_is_kept_and_told(clinic: Clinic) -> None:
    case = clinic.deliver()
    other = case.edited(saying(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.2", Modality="RTDOSE"))
    assert clinic.comes_back(other).reasons == ["it is no RT Structure Set"]
    deep = case.edited()
    inner = deep
    for _ in range(200):
        inner.RequestAttributesSequence = [Dataset()]
        inner = inner.RequestAttributesSequence[0]
    row = clinic.comes_back(deep)
    assert row.state == "APART"
    assert "nested" in row.reasons[0]


def test_a_message_that_names_another_object_than_its_file_is_apart(clinic: Clinic) -> None:
    content = encoded(clinic.deliver().edited())
    sop = content[content.index(b"\2\0\3\0UI") + 8 :][:40]
    row = clinic.comes_back(content.replace(sop, sop[:-5] + b"99999", 1))
    assert row.reasons == ["the message that brought it named another object than the file does"]


def test_a_file_that_was_altered_here_is_not_looked_into(clinic: Clinic) -> None:
    number = clinic.came(clinic.deliver().edited())
    path = clinic.layout.directory / clinic.row(number).path
    path.write_bytes(path.read_bytes()[:-2] + b"xx")
    clinic.work()
    assert "was altered" in clinic.row(number).reasons[0]


def test_a_set_of_removed_images_is_still_measured_by_the_grid_in_the_ledger(clinic: Clinic) -> None:
    case = clinic.deliver()
    clinic.remove_images()
    row = clinic.comes_back(case.edited(moved("Parotid_L", x=2.0)))
    assert row.state == "MEASURED"
    assert clinic.rois(row.id)["Parotid_L"].difference is not None


def test_a_set_whose_grid_nobody_knows_any_more_says_so(clinic: Clinic) -> None:
    case = clinic.deliver(geometry=False)
    clinic.remove_images()
    row = clinic.comes_back(case.edited())
    assert row.state == "APART"
    assert "the images were removed" in row.reasons[0]


def test_the_grid_of_a_case_of_an_earlier_version_is_read_from_its_images_and_kept(clinic: Clinic) -> None:
    case = clinic.deliver(geometry=False)
    row = clinic.comes_back(case.edited())
    assert row.state == "MEASURED"
    clinic.remove_images()
    assert clinic.comes_back(case.edited(moved("Parotid_R", x=2.0))).state == "MEASURED"


def test_an_approval_before_our_own_delivery_is_known_waits_for_it(clinic: Clinic) -> None:
    case = clinic.deliver(delivered=False)
    row = clinic.comes_back(case.edited())
    assert (row.state, row.reasons) == ("WAITING", ["our own result for its series is not delivered yet"])
    clinic.work()
    assert len([one for one in events(clinic, row.id) if one == "waits"]) == 1
    case.arrive()
    clinic.work()
    assert clinic.row(row.id).state == "MEASURED"
    assert counting(clinic, row.id) == {"Brainstem", "Parotid_L", "Parotid_R"}


def events(clinic: Clinic, number: int) -> list[str]:
    with writing(clinic.ledger) as session:
        return [event.what for event in events_of(session, "returned_set", number)]


def test_a_set_that_waited_in_vain_is_apart_after_the_days(clinic: Clinic) -> None:
    case = clinic.deliver(delivered=False)
    row = clinic.comes_back(case.edited(), at=time.time() - 31 * 86400)
    assert row.state == "APART"
    assert "30 days after the set came" in row.reasons[0]


@pytest.mark.parametrize("date", ["19990101", "20991231", None])
def test_a_clock_that_is_years_off_changes_nothing(clinic: Clinic, date: str | None) -> None:
    case = clinic.deliver()
    first = clinic.comes_back(case.edited(moved("Parotid_L", x=2.0)))
    second = clinic.comes_back(case.edited(saying(StructureSetDate=date)))
    assert second.state == "MEASURED"
    assert counting(clinic, second.id) == {"Brainstem", "Parotid_L", "Parotid_R"}
    assert clinic.row(first.id).superseded_by_id == second.id


def test_only_the_name_of_the_caller_and_numbers_stand_in_events(clinic: Clinic) -> None:
    row = clinic.comes_back(clinic.deliver().edited(renamed(Parotid_L="Secret^Name")))
    with writing(clinic.ledger) as session:
        told = str([event.detail for event in events_of(session, "returned_set", row.id)])
    assert not any(secret in told for secret in ("Secret", "PHANTOM1", "Phantom^Test"))


def test_a_set_without_references_is_paired_by_frame_and_study_or_by_frame_alone(clinic: Clinic) -> None:
    case = clinic.deliver()
    row = clinic.comes_back(case.edited(without_references))
    assert (row.state, row.series_id) == ("MEASURED", case.series_id)
    row = clinic.comes_back(case.edited(without_references, saying(StudyInstanceUID=uid("a new study"))))
    assert (row.state, row.series_id) == ("MEASURED", case.series_id)
    row = clinic.comes_back(case.edited(without_references, saying(PatientID="SOMEBODY ELSE")))
    assert (row.state, row.series_id) == ("APART", None)


def test_a_set_that_ends_the_process_again_and_again_is_apart(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    number = clinic.came(clinic.deliver().edited())
    with writing(clinic.ledger) as session:
        session.merge(Setting(key=loop.AT_WORK, value=f"{number}:{loop.MOST_DEATHS}"))
    clinic.work()
    assert "ended the process again and again" in clinic.row(number).reasons[0]


def test_a_set_that_breaks_the_work_does_not_stop_the_next_one(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    case = clinic.deliver()
    bad, good = clinic.came(case.edited()), clinic.came(case.edited())
    read = looking.read

    def fails_once(desk: Desk, row: ReturnedSet, path: Path) -> object:
        if row.id == bad:
            raise ZeroDivisionError
        return read(desk, row, path)

    monkeypatch.setattr(looking, "read", fails_once)
    clinic.work()
    assert "an error that nobody foresaw" in clinic.row(bad).reasons[0]
    assert clinic.row(good).state == "MEASURED"


def test_an_empty_or_tiny_contour_is_no_contour(clinic: Clinic) -> None:
    case = clinic.deliver()

    def tiny(dataset: Dataset) -> None:
        contours = dataset.ROIContourSequence[0].ContourSequence
        for contour in contours:
            z = float(contour.ContourData[2])
            points = np.array([[0.1, 0.1, z], [0.2, 0.1, z], [0.2, 0.2, z]])
            contour.ContourData, contour.NumberOfContourPoints = [f"{v:.2f}" for v in points.ravel()], 3

    row = clinic.comes_back(case.edited(tiny, without("Parotid_R")))
    roi = clinic.rois(row.id)["Brainstem"]
    assert (roi.difference, roi.counts) == (None, False)
    assert roi.reasons[0] == "its contours enclose no voxel"


CANARY = "Kanarienvogel"


def test_no_word_of_a_patient_stands_in_the_log(clinic: Clinic, capsys: pytest.CaptureFixture[str]) -> None:
    case = clinic.deliver()
    names = {"PatientName": CANARY, "StructureSetLabel": CANARY, "SeriesDescription": CANARY}
    for change in (saying(**names), saying(**names, PatientID=CANARY), renamed(Parotid_L=CANARY), moved(z=1.2)):
        clinic.came(case.edited(saying(**names), change))
    clinic.came(encoded(case.edited(saying(**names)))[:-9])
    clinic.work()
    told = capsys.readouterr()
    assert "returned_set=5" in told.out + told.err
    assert CANARY not in told.out + told.err
    assert not any(CANARY in alarm for alarm in clinic.alarms())
