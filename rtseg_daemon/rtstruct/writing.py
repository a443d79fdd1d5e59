"""The RT Structure Set: organs as contours that refer to the CT's own images (PS3.3 A.19)."""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import pydicom
from pydicom import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ImplicitVRLittleEndian, RTStructureSetStorage

from rtseg_daemon.anatomy.called import ascii_line
from rtseg_daemon.anatomy.organ import Flag, Organ, rings_to_send
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.config.values import JOINER
from rtseg_daemon.ct.series import CtSeries
from rtseg_daemon.dicom.implementation import IMPLEMENTATION_UID, IMPLEMENTATION_VERSION
from rtseg_daemon.rtstruct.codes import RING, Anatomy, Colour, anatomy_of
from rtseg_daemon.rtstruct.contour import trace
from rtseg_daemon.rtstruct.copied import copy_identity, keep_bytes
from rtseg_daemon.rtstruct.equipment import PRODUCT, algorithm, own_version, scanner
from rtseg_daemon.rtstruct.names import names_of_rois
from rtseg_daemon.rtstruct.roi import Roi, contour_item, decimal, image_reference, observation, roi_item
from rtseg_daemon.storage import write_durably

STUDY_CLASS_UID = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: retired, but what every planning system writes and expects here."""


@dataclass(frozen=True)
class StructureSetIdentity:
    """UIDs of one result, and which run of the same job it is."""

    sop_instance_uid: str
    series_instance_uid: str
    run: int = 1


@dataclass(frozen=True)
class Presentation:
    """How ROIs are shown: a destination's own names and colours, and whether rejected organs have contours."""

    roi_names: Mapping[str, str] = field(default_factory=dict)
    colours: Mapping[str, Colour] = field(default_factory=dict)
    rejected: Literal["omit", "send"] = "omit"


def derive_identity(series: CtSeries, bundle_digest: str, run: int, variant: str = "") -> StructureSetIdentity:
    """UIDs that are the same for the same series, images, bundle and run, so that a repeated send is one object.

    `variant` names the destination where its file differs from the others' (names, selection). UIDs are 2.25 UIDs
    (PS3.5 B.2) of 128 bits of a SHA-256.
    """
    instances = sorted(one.sop_instance_uid for one in series.instances)
    seed = "\n".join([series.series_uid, *instances, bundle_digest, str(run), variant])
    return StructureSetIdentity(hashed_uid("instance\n" + seed), hashed_uid("series\n" + seed), run)


def hashed_uid(text: str) -> str:
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}"


def build_rtstruct(
    series: CtSeries,
    organs: Sequence[Organ],
    bundles: Sequence[Bundle],
    identity: StructureSetIdentity,
    *,
    rejected: Literal["omit", "send"] = "omit",
    only: Iterable[str] = (),
    roi_names: Mapping[str, str] | None = None,
    colours: Mapping[str, Colour] | None = None,
    rings: Sequence[Organ] = (),
    created: datetime | None = None,
    predecessor: str | None = None,
    notes: list[str] | None = None,
) -> Dataset:
    """The structure set of `organs` on `series`. Without bundles the ROIs are what somebody drew, not our result.

    Args:
        rejected: whether organs flagged REJECT get their contours.
        only: names of the organs to write, or all if empty.
        roi_names, colours: a destination's own, by organ name.
        rings: further ROIs of type CONTROL, each named as its organ with a `z` in front, left out with their organ.
        created: date and time written, or now if None.
        predecessor: SOP Instance UID of the structure set that this one supersedes, or None.
        notes: gets a line for each value of the CT that could not be carried over.
    """
    wanted = set(only)
    chosen = [organ for organ in organs if not wanted or organ.name in wanted]
    view = Presentation(roi_names or {}, colours or {}, rejected)
    rois = plan_rois(series, chosen, rings_to_send(rings, chosen, rejected), bundles, view)
    moment = created or datetime.now()
    dataset = Dataset()
    found = copy_identity(series.header, dataset)
    if notes is not None:
        notes += found
    add_general(dataset, series, bundles, identity, moment)
    add_structure_set(dataset, series, chosen, bundles, moment, identity.run)
    if predecessor:
        dataset.PredecessorStructureSetSequence = Items([structure_set_reference(predecessor)])
    add_rois(dataset, series, rois)
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.file_meta = file_meta(identity)
    keep_bytes(dataset)
    return dataset


def plan_rois(
    series: CtSeries, organs: Sequence[Organ], rings: Sequence[Organ], bundles: Sequence[Bundle], view: Presentation
) -> list[Roi]:
    """Number, name, colour, comment and contours of every ROI, organs first."""
    names = names_of_rois([organ.name for organ in organs], [ring.name for ring in rings], view.roi_names)
    rois = []
    for number, (name, organ) in enumerate(zip(names, [*organs, *rings], strict=True), 1):
        ring = number > len(organs)
        known = RING if ring else anatomy_in(organ, bundles)
        sent = ring or not bundles or organ.sent(view.rejected)
        rois.append(
            Roi(
                number=number,
                name=name,
                comment=organ.comment if bundles else "",
                colour=known.colour if ring else view.colours.get(organ.name, known.colour),
                anatomy=known,
                volume_ml=organ.volume_ml,
                contours=trace(organ, series.volume) if sent else (),
                algorithm="AUTOMATIC" if bundles else "",
                derived_by=algorithm(bundle_of(organ, bundles)) if bundles else None,
            )
        )
    return rois


def bundle_of(organ: Organ, bundles: Sequence[Bundle]) -> Bundle:
    """The bundle that drew the organ: the only one, where the organ names none."""
    if organ.origin is None:
        return bundles[0]
    return next(bundle for bundle in bundles if bundle.name == organ.origin[0])


def anatomy_in(organ: Organ, bundles: Sequence[Bundle]) -> Anatomy:
    """What the organ's own bundle says of it. A second contour of one structure is drawn darker than the first."""
    if organ.origin is None:
        return anatomy_of(organ.name, bundles[0] if bundles else None)
    name = organ.origin[1]
    known = anatomy_of(name, bundle_of(organ, bundles))
    red, green, blue = known.colour
    return known if organ.name == name else replace(known, colour=(red // 2, green // 2, blue // 2))


# --- the modules, in the order of PS3.3 table A.19.3-1 ---------------------------------------------------------------


def add_general(
    dataset: Dataset, series: CtSeries, bundles: Sequence[Bundle], identity: StructureSetIdentity, moment: datetime
) -> None:
    """RT Series, General Equipment and SOP Common (C.8.8.1, C.7.5.1, C.12.1)."""
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = identity.sop_instance_uid
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date_time(moment)
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = identity.series_instance_uid
    dataset.SeriesDate, dataset.SeriesTime = date_time(moment)
    dataset.SeriesNumber = identity.run
    made_by = " + ".join(b.label for b in bundles) or "converted"
    tail = f" run {identity.run}" if identity.run > 1 else ""
    dataset.SeriesDescription = ascii_line(f"RTSTRUCT {made_by}", 64 - len(tail)) + tail
    dataset.OperatorsName = None
    dataset.Manufacturer = dataset.ManufacturerModelName = PRODUCT
    dataset.SoftwareVersions = software_versions(bundles)
    dataset.ContributingEquipmentSequence = Items([scanner(series.header)])


def software_versions(bundles: Sequence[Bundle]) -> list[str]:
    """Each bundle's and its digest, then ours (LO: 64 characters each, as a digest has: no pad byte may follow it)."""
    theirs = [line for bundle in bundles for line in (f"{bundle.name} {bundle.version}"[:64], bundle.digest)]
    return [*theirs, f"{PRODUCT} {own_version()}"]


def label(bundles: Sequence[Bundle], run: int = 1) -> str:
    """At most 16 characters: `name_of_result`, and from the second run on its number."""
    tail = f" r{run}" if run > 1 else ""
    return name_of_result(bundles)[: 16 - len(tail)].rstrip() + tail


def name_of_result(bundles: Sequence[Bundle]) -> str:
    """Name and version, of several bundles the names, or the first and how many more."""
    if len(bundles) < 2:
        return bundles[0].label if bundles else "converted"
    names = JOINER.join(bundle.name for bundle in bundles)
    return names if len(names) <= 16 else f"{bundles[0].name[:13]} +{len(bundles) - 1}"


def add_structure_set(
    dataset: Dataset, series: CtSeries, organs: Sequence[Organ], bundles: Sequence[Bundle], moment: datetime, run: int
) -> None:
    """Structure Set, without its ROIs (C.8.8.5)."""
    dataset.StructureSetLabel = ascii_line(label(bundles, run), 16)
    dataset.StructureSetDescription = ascii_line(description(organs, bundles, run), 1024)
    dataset.InstanceNumber = 1
    dataset.StructureSetDate, dataset.StructureSetTime = date_time(moment)
    frame = Dataset()
    frame.FrameOfReferenceUID = series.header.FrameOfReferenceUID
    study = Dataset()
    study.ReferencedSOPClassUID = STUDY_CLASS_UID
    study.ReferencedSOPInstanceUID = series.header.StudyInstanceUID
    referenced = Dataset()
    referenced.SeriesInstanceUID = series.header.SeriesInstanceUID
    referenced.ContourImageSequence = Items([image_reference(one) for one in series.instances])
    study.RTReferencedSeriesSequence = Items([referenced])
    frame.RTReferencedStudySequence = Items([study])
    dataset.ReferencedFrameOfReferenceSequence = Items([frame])


def description(organs: Sequence[Organ], bundles: Sequence[Bundle], run: int = 1) -> str:
    """What a physicist reads first: the run unless it is the first, how many organs are fine, to look at, rejected."""
    if not bundles:
        return f"{len(organs)} ROIs converted from masks by rtseg-daemon {own_version()}"
    count = {flag: sum(organ.flag is flag for organ in organs) for flag in Flag}
    absent = sum(not organ.found for organ in organs)
    summary = f"{count[Flag.OK]} organs OK, {count[Flag.REVIEW]} to review, {count[Flag.REJECT]} rejected"
    made_by = "; ".join(f"bundle={b.name} version={b.version} use={b.intended_use} sha256={b.digest}" for b in bundles)
    again = f"Run {run} of the same series. " if run > 1 else ""
    return f"{again}{summary} ({absent} not found). Automatic contours, to be reviewed before use. {made_by}"


def structure_set_reference(sop_instance_uid: str) -> Dataset:
    """A structure set by its UIDs (PS3.3 table 10-11)."""
    item = Dataset()
    item.ReferencedSOPClassUID = RTStructureSetStorage
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def add_rois(dataset: Dataset, series: CtSeries, rois: Sequence[Roi]) -> None:
    """StructureSetROISequence, ROI Contour and RT ROI Observations (C.8.8.5, C.8.8.6, C.8.8.8)."""
    frame_uid = series.header.FrameOfReferenceUID
    z_text = [decimal(z) for z in series.slice_z_mm]
    dataset.StructureSetROISequence = Items([roi_item(roi, frame_uid) for roi in rois])
    dataset.ROIContourSequence = Items([contour_item(roi, series.instances, z_text) for roi in rois])
    dataset.RTROIObservationsSequence = Items([observation(roi) for roi in rois])


def date_time(moment: datetime) -> tuple[str, str]:
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")


def file_meta(identity: StructureSetIdentity) -> FileMetaDataset:
    """Implicit VR: in explicit VR a contour of more than about 2,700 points would not fit its 16-bit length."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = UID(identity.sop_instance_uid)
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    return meta


def write_dataset(dataset: Dataset, path: Path) -> None:
    """Write the file durably. Under a path of the user's own others may read it, as far as the umask lets them."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    write_durably(path, buffer.getvalue(), mode=0o666)
