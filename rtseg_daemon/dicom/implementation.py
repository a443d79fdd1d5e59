"""How this software names itself to DICOM peers and in the files it writes (PS3.7 D.3.3.2 and PS3.10 7.1)."""

IMPLEMENTATION_UID = "2.25.60504364996539213657380674136658211765"
IMPLEMENTATION_VERSION = "RTSEG_0_1"
