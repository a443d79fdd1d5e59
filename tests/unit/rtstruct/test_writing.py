"""What stands in the RT Structure Set, element by element, and that the strictest checker has nothing to say."""

import hashlib
import warnings
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.sr._concepts_dict import concepts
from pydicom.tag import Tag

from rtseg_daemon.anatomy.called import ascii_line
from rtseg_daemon.bundles import Bundle, OrganClass, bundle_names, digest_of, installed_models, load_bundle
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.rtstruct.codes import ANATOMY, anatomy_of
from rtseg_daemon.rtstruct.names import file_stem, unique_names
from rtseg_daemon.rtstruct.writing import build_rtstruct, derive_identity, label
from tests.structure_sets import Case, dciodvfy_errors, organ_of, tiny_bundle
from tests.synthetic import ORIENTATIONS


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.mark.peers
@pytest.mark.parametrize("position", ORIENTATIONS)
def test_dciodvfy_finds_no_error_in_any_orientation(tmp_path: Path, position: str) -> None:
    case = Case(tmp_path, position, shuffle=True)
    case.write()
    assert dciodvfy_errors(case.path) == []


def test_approval_label_and_digest_say_what_it_is(case: Case) -> None:
    case.write(created=datetime(2026, 3, 4, 5, 6, 7))
    ds = pydicom.dcmread(case.path)
    assert ds.ApprovalStatus == "UNAPPROVED"
    assert ds.StructureSetLabel == "han-oar 1.2.3"
    assert list(ds.SoftwareVersions)[:2] == ["han-oar 1.2.3", case.bundle.digest]
    assert ds.StructureSetDescription.startswith("1 organs OK, 2 to review, 1 rejected (1 not found).")
    assert case.bundle.digest in ds.StructureSetDescription
    assert (ds.StructureSetDate, ds.StructureSetTime) == ("20260304", "050607")
    assert ds.Modality == "RTSTRUCT"
    assert ds.SeriesInstanceUID != case.series.series_uid
    assert not any(element.tag.is_private for element in ds.iterall())


def test_the_bundle_stands_as_the_algorithm_of_every_roi_and_the_product_as_the_model(case: Case) -> None:
    case.write()
    ds = pydicom.dcmread(case.path)
    assert (ds.Manufacturer, ds.ManufacturerModelName) == ("rtseg-daemon", "rtseg-daemon")
    for roi in ds.StructureSetROISequence:
        (derived,) = roi.ROIDerivationAlgorithmIdentificationSequence
        (family,) = derived.AlgorithmFamilyCodeSequence
        assert (family.CodeValue, family.CodingSchemeDesignator) == ("123110", "DCM")
        assert family.CodeMeaning == concepts["DCM"]["ArtificialIntelligence"]["123110"][0]
        assert (derived.AlgorithmName, derived.AlgorithmVersion) == ("han-oar", "1.2.3")
        assert f"sha256={case.bundle.digest}" in derived.AlgorithmParameters


def test_rois_that_somebody_drew_name_no_algorithm(case: Case) -> None:
    identity = derive_identity(case.series, "", 1)
    dataset = build_rtstruct(case.series, case.organs, [], identity)
    assert not any("ROIDerivationAlgorithmIdentificationSequence" in roi for roi in dataset.StructureSetROISequence)
    assert dataset.ManufacturerModelName == "rtseg-daemon"


@pytest.mark.peers
def test_the_scanners_station_serial_number_and_institution_are_contributing_equipment(case: Case) -> None:
    header = case.series.header
    header.InstitutionName, header.StationName, header.DeviceSerialNumber = "Klinik Süd", "CT2", "4711"
    case.write()
    (item,) = pydicom.dcmread(case.path).ContributingEquipmentSequence
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
    assert (item.Manufacturer, item.ManufacturerModelName) == ("Phantom works", "Synthetic")
    assert (item.InstitutionName, item.StationName, item.DeviceSerialNumber) == (
        ascii_line("Klinik Süd", 64),
        "CT2",
        "4711",
    )
    assert dciodvfy_errors(case.path) == []


def test_what_the_ct_does_not_say_of_its_scanner_is_left_out(case: Case) -> None:
    for keyword in ("Manufacturer", "InstitutionName", "StationName", "DeviceSerialNumber"):
        case.series.header.pop(keyword, None)
    case.series.header.StationName = ""
    case.write()
    (item,) = pydicom.dcmread(case.path).ContributingEquipmentSequence
    assert item.Manufacturer == "unknown"
    assert not {"InstitutionName", "StationName", "DeviceSerialNumber"} & set(item.dir())


def test_every_contour_refers_to_the_image_it_lies_on(case: Case) -> None:
    case.write()
    ds = pydicom.dcmread(case.path)
    z_of = {pydicom.dcmread(p).SOPInstanceUID: float(pydicom.dcmread(p).ImagePositionPatient[2]) for p in case.paths}
    for item in ds.ROIContourSequence:
        for contour in item.get("ContourSequence", []):
            (image,) = contour.ContourImageSequence
            assert {round(float(z), 3) for z in contour.ContourData[2::3]} == {z_of[image.ReferencedSOPInstanceUID]}
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            assert contour.NumberOfContourPoints == len(contour.ContourData) // 3 >= 3
    referenced = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert {i.ReferencedSOPInstanceUID for i in referenced.ContourImageSequence} == set(z_of)


def test_decimal_strings_have_at_most_sixteen_characters(case: Case) -> None:
    case.write()
    ds = pydicom.dcmread(case.path)
    longest = 0
    for item in ds.ROIContourSequence:
        for contour in item.get("ContourSequence", []):
            raw = contour.get_item("ContourData").value
            longest = max(longest, *(len(part) for part in raw.decode().split("\\")))
    assert 0 < longest <= 16


def test_comment_stands_in_both_fields_flag_first(case: Case) -> None:
    case.write()
    ds = pydicom.dcmread(case.path)
    for organ, roi, observation in zip(
        case.organs, ds.StructureSetROISequence, ds.RTROIObservationsSequence, strict=True
    ):
        assert roi.ROIDescription == observation.ROIObservationDescription == organ.comment
        assert roi.ROIDescription.split()[0] == organ.flag
        assert "vvc=" in roi.ROIDescription
        assert "entropy=" in roi.ROIDescription
        assert roi.ROIGenerationAlgorithm == "AUTOMATIC"
        assert observation.RTROIInterpretedType == "ORGAN"


def has_contours(ds: pydicom.Dataset) -> dict[str, bool]:
    names = {roi.ROINumber: str(roi.ROIName) for roi in ds.StructureSetROISequence}
    return {names[i.ReferencedROINumber]: "ContourSequence" in i for i in ds.ROIContourSequence}


def test_rejected_and_missing_organs_have_a_roi_without_contours(case: Case) -> None:
    case.write()
    found = has_contours(pydicom.dcmread(case.path))
    assert found == {"Parotid_L": True, "Brainstem": True, "Lens_L": False, "Lens_R": False}


def test_the_route_may_send_rejected_organs(case: Case) -> None:
    case.write(rejected="send")
    assert has_contours(pydicom.dcmread(case.path))["Lens_L"]


@pytest.mark.peers
def test_a_destination_gets_its_organs_names_and_colours(case: Case) -> None:
    case.write(only=["Parotid_L", "Brainstem"], roi_names={"Parotid_L": "OHRSPDR LI"}, colours={"Brainstem": (1, 2, 3)})
    ds = pydicom.dcmread(case.path)
    assert [roi.ROIName for roi in ds.StructureSetROISequence] == ["OHRSPDR LI", "Brainstem"]
    assert list(ds.ROIContourSequence[1].ROIDisplayColor) == [1, 2, 3]
    assert ds.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0].CodeValue == "59798"
    assert dciodvfy_errors(case.path) == []


@pytest.mark.peers
def test_a_ring_is_a_control_roi_whose_name_begins_with_z(case: Case) -> None:
    brainstem = case.organs[1]
    case.write(rings=[brainstem])
    ds = pydicom.dcmread(case.path)
    assert ds.StructureSetROISequence[-1].ROIName == "zBrainstem"
    assert ds.RTROIObservationsSequence[-1].RTROIInterpretedType == "CONTROL"
    assert "ContourSequence" in ds.ROIContourSequence[-1]
    assert dciodvfy_errors(case.path) == []


def test_a_ring_stays_out_with_its_organ(case: Case) -> None:
    parotid, brainstem, rejected, _ = case.organs
    case.write(rings=[parotid, brainstem, rejected], only=["Brainstem", "Lens_L"], roi_names={"Brainstem": "Stem"})
    names = [roi.ROIName for roi in pydicom.dcmread(case.path).StructureSetROISequence]
    assert names == ["Stem", "Lens_L", "zStem"]
    case.write(rings=[rejected], rejected="send")
    assert pydicom.dcmread(case.path).StructureSetROISequence[-1].ROIName == "zLens_L"


def test_a_ring_of_a_long_name_has_sixteen_characters_and_its_own_name(case: Case) -> None:
    case.organs = [replace(case.organs[1], name="a" * 16), replace(case.organs[1], name="a" * 15 + "b")]
    case.write(rings=case.organs)
    names = [str(roi.ROIName) for roi in pydicom.dcmread(case.path).StructureSetROISequence]
    assert names == ["a" * 16, "a" * 15 + "b", "z" + "a" * 15, "z" + "a" * 13 + "_2"]


def test_codes_name_organ_and_side(case: Case) -> None:
    case.write()
    parotid, brainstem = pydicom.dcmread(case.path).RTROIObservationsSequence[:2]
    region = parotid.AnatomicRegionSequence[0]
    assert (region.CodeValue, region.CodingSchemeDesignator) == ("45289007", "SCT")
    assert region.AnatomicRegionModifierSequence[0].CodeMeaning == "Left"
    assert brainstem.RTROIIdentificationCodeSequence[0].CodeValue == "79876"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in brainstem.RTROIIdentificationCodeSequence[0]


def test_snomed_codes_and_meanings_are_those_of_the_standard() -> None:
    known = {
        (code, meaning.casefold())
        for entry in concepts["SCT"].values()
        for code, (meaning, groups) in dict(entry).items()  # type: ignore[call-overload]
        if groups
    }
    assert {(a.snomed[0], a.snomed[1].casefold()) for a in ANATOMY.values() if a.snomed} <= known


TG263_FMA = {
    "Eye": (12515, 12514), "Lens": (58243, 58242), "OpticNrv": (50878, 50875), "Lobe_Temporal": (72972, 72971),
    "Parotid": (59798, 59797), "Ear_Internal": (61021, 61020), "Ear_Middle": (56515, 56514),
    "Joint_TM": (54834, 54833), "Glnd_Submand": (59803, 59802), "Mandible": (52748, 52748),
    "OpticChiasm": (62045,), "Pituitary": (13889,), "Brainstem": (79876,), "Brain": (50801,), "SpinalCord": (7647,),
    "Esophagus": (7131,), "Larynx": (55097,), "Bone_Mandible": (52748,),
}  # fmt: skip
"""Column FMAID of TG-263's nomenclature worksheet (2017-08-15), left and right; it has no halves of the mandible."""


@pytest.mark.parametrize("name", TG263_FMA)
def test_fma_codes_are_those_of_tg_263(name: str) -> None:
    codes = TG263_FMA[name]
    names = [name] if len(codes) == 1 else [f"{name}_L", f"{name}_R"]
    assert [anatomy_of(one).fma[0] for one in names] == [str(code) for code in codes]  # type: ignore[index]


@pytest.mark.parametrize("name", bundle_names(installed_models()))
def test_the_bundles_that_ship_carry_the_same_codes(name: str) -> None:
    for organ in load_bundle(installed_models(), name).classes:
        assert (organ.snomed, organ.fma) == (anatomy_of(organ.name).snomed, anatomy_of(organ.name).fma)


def test_all_organs_of_structseg_and_openkbp_have_codes_and_colours() -> None:
    paired = [
        "Eye",
        "Lens",
        "OpticNrv",
        "Lobe_Temporal",
        "Parotid",
        "Ear_Internal",
        "Ear_Middle",
        "Joint_TM",
        "Mandible",
    ]
    structseg = [f"{name}_{side}" for name in paired for side in "LR"]
    structseg += ["OpticChiasm", "Pituitary", "Brainstem", "SpinalCord"]
    openkbp = ["Brainstem", "SpinalCord", "Parotid_L", "Parotid_R", "Esophagus", "Larynx", "Bone_Mandible"]
    assert len(structseg) == 22
    for name in structseg + openkbp:
        known = anatomy_of(name)
        assert known.snomed, name
        assert known.fma, name
        assert len(name) <= 16
        assert known.side == {"L": "left", "R": "right"}.get(name[-1] if name[-2] == "_" else "", "none")


@pytest.mark.parametrize(("name", "kind"), [("GTVp", "GTV"), ("PTV_7000", "PTV"), ("CTVn_L", "CTV"), ("Scar", "ORGAN")])
def test_targets_are_told_by_their_first_letters(name: str, kind: str) -> None:
    assert anatomy_of(name).interpreted_type == kind


def test_a_target_is_written_as_one_without_an_organs_codes(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.organs = [replace(case.organs[0], name="PTV_7000")]
    case.bundle = tiny_bundle().model_copy(update={"classes": [OrganClass(name="PTV_7000", interpreted_type="PTV")]})
    dataset = case.write()
    observed = dataset.RTROIObservationsSequence[0]
    assert observed.RTROIInterpretedType == "PTV"
    assert "AnatomicRegionSequence" not in observed
    assert "RTROIIdentificationCodeSequence" not in observed


def several(*names: str) -> list[Bundle]:
    return [tiny_bundle("Brainstem", "Larynx", name=name) for name in names]


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (("han-oar",), "han-oar 1.2.3"),
        (("han-oar", "han-gtv"), "han-oar+han-gtv"),
        (("han-anatomynet", "han-gtv", "han-oar"), "han-anatomyne +2"),
        ((), "converted"),
    ],
)
def test_the_label_names_the_bundles_as_far_as_sixteen_characters_go(names: tuple[str, ...], written: str) -> None:
    assert label(several(*names)) == written


def test_a_joined_structure_set_states_every_bundle_and_tells_second_contours_by_colour(case: Case) -> None:
    bundles = several("han-oar", "han-gtv")
    first = replace(case.organs[0], name="Brainstem", origin=("han-oar", "Brainstem"))
    second = replace(first, name="Brainstem^2", origin=("han-gtv", "Brainstem"))
    identity = derive_identity(case.series, digest_of(bundles), 1)
    dataset = build_rtstruct(case.series, [first, second], bundles, identity)
    assert [str(line) for line in dataset.SoftwareVersions[:4]] == [
        "han-oar 1.2.3", bundles[0].digest, "han-gtv 1.2.3", bundles[1].digest,
    ]  # fmt: skip
    assert dataset.SeriesDescription == "RTSTRUCT han-oar 1.2.3 + han-gtv 1.2.3"
    assert dataset.ManufacturerModelName == "rtseg-daemon"
    derived = [item.ROIDerivationAlgorithmIdentificationSequence[0] for item in dataset.StructureSetROISequence]
    assert [(one.AlgorithmName, one.AlgorithmVersion) for one in derived] == [
        ("han-oar", "1.2.3"),
        ("han-gtv", "1.2.3"),
    ]
    for name in ("bundle=han-oar version=1.2.3", "bundle=han-gtv version=1.2.3"):
        assert name in dataset.StructureSetDescription
    colours = [list(item.ROIDisplayColor) for item in dataset.ROIContourSequence]
    assert colours[1] == [channel // 2 for channel in colours[0]]
    codes = [item.AnatomicRegionSequence[0].CodeValue for item in dataset.RTROIObservationsSequence]
    assert codes == ["119238007", "119238007"]
    assert [item.ROIName for item in dataset.StructureSetROISequence] == ["Brainstem", "Brainstem^2"]


def test_the_same_result_has_the_same_uids_and_another_run_has_others(case: Case) -> None:
    first = derive_identity(case.series, "digest", 1)
    assert first == derive_identity(load_series(case.paths[::-1]), "digest", 1)
    others = [derive_identity(case.series, "digest", 2), derive_identity(case.series, "other", 1)]
    others += [
        derive_identity(load_series(case.paths[1:]), "digest", 1),
        derive_identity(case.series, "digest", 1, "tps"),
    ]
    uids = {u for one in [first, *others] for u in (one.sop_instance_uid, one.series_instance_uid)}
    assert len(uids) == 10
    assert all(u.startswith("2.25.") and len(u) <= 44 for u in uids)


def test_the_same_call_writes_the_same_bytes(case: Case) -> None:
    digests = set()
    for _ in range(2):
        case.write(created=datetime(2026, 1, 1))
        digests.add(hashlib.sha256(case.path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_failed_write_leaves_the_old_file_and_no_other(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.write()
    before = case.path.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom, "dcmwrite", full)
    with pytest.raises(OSError, match="No space"):
        case.write(rejected="send")
    assert case.path.read_bytes() == before
    assert [p.name for p in case.path.parent.iterdir() if p.is_file()] == ["rs.dcm"]


def with_raw(case: Case, **values: bytes) -> None:
    """Write the CT's files again with the bytes given in their elements, right or wrong, and load them."""
    for path in case.paths:
        ds = pydicom.dcmread(path)
        for keyword, value in values.items():
            tag = Tag(pydicom.datadict.tag_for_keyword(keyword) or 0)
            padded = value + b" " * (len(value) % 2)
            ds[tag] = RawDataElement(
                tag, pydicom.datadict.dictionary_VR(tag), len(padded), padded, 0, False, True, True
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds.set_original_encoding(False, True, ds._character_set)
            ds.save_as(path)
    case.series = load_series(case.paths)


NAMES = {
    "latin 1": (b"ISO_IR 100", b"M\xfcller^J\xf6rg"),
    "greek": (b"ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2"),
    "cyrillic": (b"ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1\xe0\xd3"),
    "utf-8": (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode()),
    "japanese": (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
    "korean": (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    "chinese": (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab"),
    "empty": (b"", b""),
}


@pytest.mark.peers
@pytest.mark.parametrize("script", NAMES)
@pytest.mark.parametrize("looked_at", [False, True])
def test_names_keep_their_bytes_in_any_character_set(case: Case, script: str, looked_at: bool) -> None:
    charset, name = NAMES[script]
    with_raw(case, SpecificCharacterSet=charset, PatientName=name)
    if looked_at:
        assert bool(str(case.series.header.PatientName or "")) == bool(name)
    case.write()
    written = pydicom.dcmread(case.path).get_item("PatientName").value or b""
    assert written.rstrip(b" ") == name
    assert dciodvfy_errors(case.path) == []


@pytest.mark.parametrize("name", [b"Test-\x84D\x83\xa6\xc8", b"a\xffb", b"\x1b$B;"])
def test_a_name_that_breaks_its_character_set_keeps_its_bytes_too(case: Case, name: bytes) -> None:
    with_raw(case, SpecificCharacterSet=b"ISO_IR 13", PatientName=name)
    case.write()
    assert pydicom.dcmread(case.path).get_item("PatientName").value.rstrip(b" ") == name


BROKEN = {
    "PatientBirthDate": b"01.02.1960",
    "PatientSex": b"U",
    "StudyDate": b"20260230",
    "StudyTime": b"25:00",
    "AccessionNumber": b"A\\B",
    "StudyDescription": b"B" * 80,
    "ReferringPhysicianName": b"D" * 70,
    "PatientAge": b"12",
    "PatientWeight": b"eighty",
    "SpecificCharacterSet": b"latin-1",
    "PatientComments": b"a\x01b",
}


@pytest.mark.peers
@pytest.mark.parametrize("keyword", BROKEN)
def test_a_value_that_breaks_its_vr_is_written_empty_with_a_note(case: Case, keyword: str) -> None:
    with_raw(case, **{keyword: BROKEN[keyword]})
    case.write()
    assert [note.split()[0] for note in case.notes] == [keyword]
    assert not pydicom.dcmread(case.path).get(keyword)
    assert dciodvfy_errors(case.path) == []


def test_notes_hold_no_value_of_the_patient(case: Case) -> None:
    with_raw(case, ReferringPhysicianName=b"Canary^Name" * 8)
    case.write()
    assert case.notes
    assert "Canary" not in " ".join(case.notes)


@pytest.mark.peers
def test_a_contour_of_many_thousand_points_is_written_whole(case: Case) -> None:
    """In explicit VR its data would not fit (PS3.3 C.8.8.6: at most 65534 bytes)."""
    noise = np.random.default_rng(0).random(case.series.volume.shape) > 0.3
    case.organs = [organ_of("Brainstem", noise, case.series.volume)]
    case.write()
    ds = pydicom.dcmread(case.path)
    assert max(len(c.get_item("ContourData").value) for c in ds.ROIContourSequence[0].ContourSequence) > 1000
    assert dciodvfy_errors(case.path) == []


def test_names_are_short_and_unique_without_regard_to_case() -> None:
    names = unique_names(["Parotid_L", "PAROTID_l", "A" * 20, "a" * 16, "", "Läsion\\1", "Parotid_L"])
    assert names == ["Parotid_L", "PAROTID_l_2", "A" * 16, "a" * 14 + "_2", "ROI", "Lasion/1", "Parotid_L_3"]
    assert len({n.casefold() for n in names}) == len(names)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/abs", "..", "a\0b", "CON\n", "-", "é/ü"])
def test_a_file_name_holds_no_path(name: str) -> None:
    stem = file_stem(name)
    assert stem
    assert not set(stem) & set("/\\.\0\n ")


def test_a_line_is_cut_without_a_blank_at_its_end() -> None:
    assert ascii_line("abc def", 4) == "abc"


@pytest.mark.parametrize(
    ("bundles", "run", "expected"),
    [
        ([("han-oar", "1.2.3")], 1, "han-oar 1.2.3"),
        ([("han-oar", "1.2.3")], 2, "han-oar 1.2.3 r2"),
        ([("han-anatomynet", "1.2.3")], 2, "han-anatomyne r2"),
        ([("han-oar", "1.2.3")], 117, "han-oar 1.2 r117"),
        ([("han-oar", "1"), ("han-gtv", "1")], 3, "han-oar+han-g r3"),
    ],
)
def test_a_rerun_is_told_from_its_original_by_its_label(
    bundles: list[tuple[str, str]], run: int, expected: str
) -> None:
    made = label([tiny_bundle("Brain", name=name, version=version) for name, version in bundles], run)
    assert len(made) <= 16
    assert made == expected


def test_a_rerun_is_told_from_its_original_by_its_descriptions(tmp_path: Path) -> None:
    case = Case(tmp_path)
    first, second = (
        build_rtstruct(case.series, case.organs, [case.bundle], derive_identity(case.series, case.bundle.digest, run))
        for run in (1, 2)
    )
    assert second.StructureSetDescription == "Run 2 of the same series. " + first.StructureSetDescription
    assert second.SeriesDescription == first.SeriesDescription + " run 2"


@pytest.mark.parametrize(("one", "other"), [("Brainstem", "SpinalCord"), ("Parotid_L", "Parotid_R")])
def test_neighbours_in_a_list_differ_clearly_in_colour(one: str, other: str) -> None:
    """A hundred of 255 in one of red, green and blue at least: a darker shade of the same colour is not told apart."""
    first, second = anatomy_of(one).colour, anatomy_of(other).colour
    assert max(abs(a - b) for a, b in zip(first, second, strict=True)) >= 100
