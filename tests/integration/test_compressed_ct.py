"""A compressed CT and a destination that takes no compression: the same pixels, and the structure set always."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RTStructureSetStorage,
)
from sqlalchemy import Engine

from rtseg_daemon.ct.headers import header_of
from rtseg_daemon.ct.pixels import stored_values
from rtseg_daemon.deliver import send
from rtseg_daemon.deliver.decompressing import Decompressor
from rtseg_daemon.dicom.files import read_dataset
from rtseg_daemon.errors import NotDecompressed
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.events import events_of
from rtseg_daemon.ledger.schema import Alarm
from tests.deliveries import World
from tests.peers import Storescp, program
from tests.world import Tps, patient

LOSSY = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "8", "LossyImageCompressionMethod": "ISO_15444_1"}


@pytest.fixture
def plain(tmp_path: Path) -> list[Path]:
    """Four slices that were compressed with loss once, and say so."""
    files = patient(tmp_path / "plain", slices=4)
    for path in files:
        image = dcmread(path)
        for keyword, value in LOSSY.items():
            setattr(image, keyword, value)
        image.save_as(path)
    return files


PROGRAMS = {"jpegls": ("dcmcjpls",), "jpeg": ("dcmcjpeg", "+e1"), "rle": ("dcmcrle",)}


def compressed(files: list[Path], to: Path, how: str) -> list[Path]:
    """The same files losslessly compressed by dcmtk, or by GDCM where dcmtk cannot."""
    to.mkdir(parents=True)
    out = [to / path.name for path in files]
    for source, target in zip(files, out, strict=True):
        if how == "j2k":
            with_jpeg2000(source, target)
        else:
            name, *options = PROGRAMS[how]
            command = [program(name), *options, str(source), str(target)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
    return [path.absolute() for path in out]


def with_jpeg2000(source: Path, target: Path) -> None:
    """The source's data set with its pixels as GDCM compresses them."""
    dataset, writer = dcmread(source), sitk.ImageFileWriter()
    stored = sitk.GetImageFromArray(dataset.pixel_array[None])
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG2000")
    made = target.with_suffix(".gdcm.dcm")
    writer.SetFileName(str(made))
    writer.Execute(stored)
    by_gdcm = dcmread(made)
    assert by_gdcm.file_meta.TransferSyntaxUID == JPEG2000Lossless
    dataset.PixelData = by_gdcm.PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.BitsStored, dataset.HighBit = by_gdcm.BitsStored, by_gdcm.HighBit
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(target, enforce_file_format=True)
    made.unlink()


def delivered(world: World, files: list[Path], tps: Storescp, *options: str) -> None:
    world.job(files=files)
    with tps.running(*options), world.couriers():
        world.until_state("DELIVERED", seconds=60)


@pytest.mark.peers
@pytest.mark.parametrize("how", ["jpegls", "j2k", "jpeg", "rle"])
@pytest.mark.parametrize(("option", "syntax"), [("+xi", ImplicitVRLittleEndian), ("+xe", ExplicitVRLittleEndian)])
def test_a_destination_without_compression_gets_the_same_pixels_and_the_stated_lossy_fields(
    ledger: Engine, tmp_path: Path, plain: list[Path], how: str, option: str, syntax: str
) -> None:
    tps = Storescp(tmp_path / "tps")
    world = World(ledger, tmp_path, tps, send_images=True)  # type: ignore[arg-type]
    files = compressed(plain, world.layout.series / "aa", how)
    delivered(world, files, tps, option)
    sent = {str(image.SOPInstanceUID): image for image in map(dcmread, tps.files) if image.Modality == "CT"}
    assert len(sent) == len(tps.structure_sets) * 4 == 4
    for path in plain:
        there, ours = sent[str(dcmread(path).SOPInstanceUID)], dcmread(path)
        assert there.file_meta.TransferSyntaxUID == syntax
        assert np.array_equal(there.pixel_array, ours.pixel_array)
        assert {keyword: str(there[keyword].value) for keyword in LOSSY} == LOSSY
        assert (there.BitsStored, there.PixelRepresentation) == (ours.BitsStored, ours.PixelRepresentation)
        assert there.PatientName == ours.PatientName


@pytest.mark.peers
def test_a_destination_that_takes_the_compression_gets_the_bytes_as_they_are(
    ledger: Engine, tmp_path: Path, plain: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decompressor, "uncompressed", None)
    tps = Storescp(tmp_path / "tps")
    world = World(ledger, tmp_path, tps, send_images=True)  # type: ignore[arg-type]
    files = compressed(plain, world.layout.series / "aa", "jpegls")
    delivered(world, files, tps, "+xa")
    syntaxes = {str(image.file_meta.TransferSyntaxUID) for image in map(dcmread, tps.files) if image.Modality == "CT"}
    assert syntaxes == {str(JPEGLSLossless)}


def test_both_plain_syntaxes_are_offered_beside_the_compressed_one(tmp_path: Path, plain: list[Path]) -> None:
    (file, *_) = compressed(plain[:1], tmp_path / "j", "j2k")
    offered = [(offer.sop_class, offer.syntaxes) for offer in send.offers_for([file], commitment=False)]
    assert offered == [
        (str(CTImageStorage), (str(syntax),))
        for syntax in (JPEG2000Lossless, ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    ]


def alarm(ledger: Engine) -> str:
    with reading(ledger) as session:
        return session.query(Alarm).one().message


@pytest.mark.peers
def test_where_decompression_fails_the_structure_set_still_goes_with_an_alarm(
    ledger: Engine, tmp_path: Path, plain: list[Path]
) -> None:
    tps = Storescp(tmp_path / "tps")
    world = World(ledger, tmp_path, tps, send_images=True)  # type: ignore[arg-type]
    files = compressed(plain, world.layout.series / "aa", "j2k")
    broken = dcmread(files[1])
    broken.Rows = 17  # contradicts its codestream
    broken.save_as(files[1])
    delivered(world, files, tps, "+xi")
    kinds = [str(dcmread(path).Modality) for path in tps.files]
    assert sorted(kinds) == ["CT"] * 3 + ["RTSTRUCT"]
    assert alarm(ledger).startswith("1 CT image of job 1 not sent to tps: pixel_data: ")
    assert "send the CT there from the PACS" in alarm(ledger)
    assert "1 CT image of job 1 not sent to tps" in world.delivery()["last_comment"]
    with reading(ledger) as session:
        (event,) = [one for one in events_of(session, "delivery", 1) if one.what == "images not sent"]
        assert event.detail["images"] == 1


def test_where_no_image_is_accepted_at_all_the_structure_set_still_goes(
    ledger: Engine, tmp_path: Path, plain: list[Path]
) -> None:
    tps = Tps()
    tps.classes = (RTStructureSetStorage,)
    world = World(ledger, tmp_path, tps, send_images=True)
    world.job(files=[path.absolute() for path in plain])
    with tps.running(), world.couriers():
        world.until_state("DELIVERED")
    assert [str(one.Modality) for one in tps.received] == ["RTSTRUCT"]
    assert alarm(ledger).startswith("4 CT images of job 1 not sent to tps: CT Image Storage is not accepted")


# --- the process that decompresses ------------------------------------------------------------------------------------


@pytest.fixture
def decompressor() -> Iterator[Callable[..., Decompressor]]:
    made: list[Decompressor] = []

    def make(**options: Any) -> Decompressor:
        made.append(Decompressor(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_process_that_gives_no_answer_is_ended_and_the_file_is_not_tried_again(
    decompressor: Callable[..., Decompressor], tmp_path: Path
) -> None:
    silent = decompressor(program=("sleep", "60"), seconds=0.3)
    for _ in range(2):
        with pytest.raises(NotDecompressed, match="gave no answer"):
            silent.uncompressed(tmp_path / "a.dcm", str(ImplicitVRLittleEndian))
    assert silent.process is None


@pytest.mark.parametrize(
    "said", ["nonsense\n", '{"length": 99999999999}\n', '{"length": 5}\nab', '{"length": 0}\n', "x" * 5000]
)
def test_a_process_that_breaks_the_protocol_is_not_believed(
    decompressor: Callable[..., Decompressor], tmp_path: Path, said: str
) -> None:
    liar = decompressor(program=("printf", "%s", said), seconds=5.0)
    with pytest.raises(NotDecompressed, match="gave no answer"):
        liar.uncompressed(tmp_path / "a.dcm", str(ImplicitVRLittleEndian))


def test_one_process_serves_many_images_and_outlives_one_that_is_broken(
    decompressor: Callable[..., Decompressor], tmp_path: Path, plain: list[Path]
) -> None:
    files = compressed(plain, tmp_path / "j", "j2k")
    (tmp_path / "broken.dcm").write_bytes(b"nothing")
    one = decompressor()
    first = one.uncompressed(files[0], str(ExplicitVRLittleEndian))
    process = one.process
    with pytest.raises(NotDecompressed, match="cannot be read as DICOM"):
        one.uncompressed(tmp_path / "broken.dcm", str(ExplicitVRLittleEndian))
    second = one.uncompressed(files[1], str(ImplicitVRLittleEndian))
    assert one.process is process
    assert len(first) > len(second) > 2 * dcmread(plain[0]).Rows * dcmread(plain[0]).Columns
    parsed = read_dataset(files[0], pixels=True)
    assert stored_values(parsed, header_of(parsed, files[0])).astype("<i2").tobytes() in first
