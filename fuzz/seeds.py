"""What an honest peer says, as the beginning of every corpus."""

from collections.abc import Callable

from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from fuzz.targets import SYNTAXES
from tests.receiver import ECHO_PDUS, RELEASE, command_set, encoded, request_pdu, store_pdus
from tests.security.conftest import ct_image


def image() -> Dataset:
    """A small CT image with a sequence and a private element in it."""
    dataset = ct_image(size=4)
    dataset.SOPInstanceUID = "1.2.3"
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.4"
    dataset.ReferencedImageSequence = Items([item])
    dataset.add_new(0x00090010, "LO", "PRIVATE")
    dataset.add_new(0x00091001, "UN", b"\0\1\2\3")
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    return dataset


def data_sets() -> list[bytes]:
    """One per transfer syntax, its number in front."""
    seeds = []
    for number, syntax in enumerate(SYNTAXES):
        dataset = image()
        if syntax == JPEG2000Lossless:
            dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(32)])
            dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        plain = syntax if syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian) else SYNTAXES[0]
        seeds.append(bytes([number]) + encoded(dataset, plain))
    return seeds


def associations() -> list[bytes]:
    """A request alone, an echo, a C-STORE in one piece and in many, a release."""
    raw = encoded(image())
    stored = [request_pdu() + store_pdus("1.2.3", raw, piece=piece) + RELEASE for piece in (100, 65536)]
    return [request_pdu(), request_pdu() + ECHO_PDUS + RELEASE, *stored]


def command_sets() -> list[bytes]:
    return [command_set(1, "1.2.840.10008.5.1.4.1.1.2", "1.2.3"), command_set(0x30, "1.2.840.10008.1.1", data=False)]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "association": associations,
    "command_set": command_sets,
    "data_set": data_sets,
    "stored_file": data_sets,
}
