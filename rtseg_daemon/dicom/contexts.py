"""Which SOP classes and transfer syntaxes are accepted: what is segmented, and what a PACS forwards along with it."""

from pydicom import uid
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext

VERIFICATION = UID("1.2.840.10008.1.1")

UNCOMPRESSED: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
LOSSLESS: list[str | UID] = [JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless, RLELossless]

FORWARDED_ALONG = (
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.NuclearMedicineImageStorage,
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.XRayRadiationDoseSRStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.ColorSoftcopyPresentationStateStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.EncapsulatedPDFStorage,
    uid.RawDataStorage,
    uid.SpatialRegistrationStorage,
    uid.DeformableSpatialRegistrationStorage,
    uid.SpatialFiducialsStorage,
    uid.SegmentationStorage,
    uid.RTImageStorage,
    uid.RTDoseStorage,
    uid.RTStructureSetStorage,
    uid.RTPlanStorage,
    uid.RTIonPlanStorage,
    uid.RTBeamsTreatmentRecordStorage,
)
"""Storage classes that come with a forwarded study: accepted and dropped, so that the PACS's queue does not jam."""

STRUCTURE_SETS = str(uid.RTStructureSetStorage)
"""Kept where they come from a caller with `feedback: true`."""

_FORWARDED = frozenset(map(str, FORWARDED_ALONG))


def is_forwarded_along(sop_class: str) -> bool:
    return sop_class in _FORWARDED


COMMITMENT = UID("1.2.840.10008.1.20.1")


def commitment_context() -> PresentationContext:
    """Storage commitment with the peer as its provider: it reports, we promise nothing (PS3.4 J.3, PS3.7 D.3.3.4)."""
    context = build_context(COMMITMENT, UNCOMPRESSED)
    context.scu_role, context.scp_role = False, True
    return context


def supported_contexts(commitment: bool = False) -> list[PresentationContext]:
    """Everything the listener accepts. Deflated and lossy syntaxes are not among it.

    `commitment`: also reports of storage commitment that we asked for.
    """
    images = [build_context(CTImageStorage, UNCOMPRESSED + LOSSLESS)]
    echo = [build_context(VERIFICATION, UNCOMPRESSED)]
    reports = [commitment_context()] if commitment else []
    return echo + images + reports + [build_context(other, UNCOMPRESSED + LOSSLESS) for other in FORWARDED_ALONG]
