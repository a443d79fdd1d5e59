"""Which SOP classes and transfer syntaxes are accepted: what is segmented, and what a PACS forwards along with it."""

from pydicom.uid import (
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
from pynetdicom import sop_class as sop
from pynetdicom.presentation import PresentationContext

UNCOMPRESSED = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
LOSSLESS = [JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless, RLELossless]

FORWARDED_ALONG = (
    sop.EnhancedCTImageStorage,
    sop.LegacyConvertedEnhancedCTImageStorage,
    sop.MRImageStorage,
    sop.EnhancedMRImageStorage,
    sop.PositronEmissionTomographyImageStorage,
    sop.NuclearMedicineImageStorage,
    sop.ComputedRadiographyImageStorage,
    sop.DigitalXRayImageStorageForPresentation,
    sop.XRayRadiationDoseSRStorage,
    sop.BasicTextSRStorage,
    sop.EnhancedSRStorage,
    sop.ComprehensiveSRStorage,
    sop.Comprehensive3DSRStorage,
    sop.KeyObjectSelectionDocumentStorage,
    sop.GrayscaleSoftcopyPresentationStateStorage,
    sop.ColorSoftcopyPresentationStateStorage,
    sop.SecondaryCaptureImageStorage,
    sop.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    sop.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    sop.MultiFrameTrueColorSecondaryCaptureImageStorage,
    sop.EncapsulatedPDFStorage,
    sop.RawDataStorage,
    sop.SpatialRegistrationStorage,
    sop.DeformableSpatialRegistrationStorage,
    sop.SpatialFiducialsStorage,
    sop.SegmentationStorage,
    sop.RTImageStorage,
    sop.RTDoseStorage,
    sop.RTStructureSetStorage,
    sop.RTPlanStorage,
    sop.RTIonPlanStorage,
    sop.RTBeamsTreatmentRecordStorage,
)
"""Storage classes that come with a forwarded study: accepted and dropped, so that the PACS's queue does not jam."""

_FORWARDED = frozenset(map(str, FORWARDED_ALONG))


def is_forwarded_along(sop_class: str) -> bool:
    return sop_class in _FORWARDED


def supported_contexts() -> list[PresentationContext]:
    """Everything the listener accepts; deflated and lossy syntaxes are not among it."""
    images = [build_context(CTImageStorage, UNCOMPRESSED + LOSSLESS)]
    echo = [build_context(sop.Verification, UNCOMPRESSED)]
    return echo + images + [build_context(uid, UNCOMPRESSED + LOSSLESS) for uid in FORWARDED_ALONG]
