"""How fast CT objects are received durably, against other storage SCPs in the same run.

    python bench/ingest.py [--rounds 5] [--objects 300] [--associations 1 4 10] [--peers rtseg storescp ...]

For a quick look: `--rounds 1 --objects 30`. `--minutes` ends the run after the round in which they are over.

Every round starts every peer anew with an empty storage, once per number of associations, sends the same objects with
dcmtk's `dcmsend` (TCP_NODELAY=1) over N associations at once, and takes the time from the first dcmsend's start to the
last one's end. Medians over the rounds, ratios, peak memory of the peer's process; what rtseg stored is compared with
what was sent, byte by byte; of the others dcmsend's count of successes is taken. Only ratios within one run mean
anything: the machine may be busy with something else. The load is printed, and what one durable file costs without any
network: written, fsynced, renamed, its folder fsynced.

What a peer promises with its answer differs: rtseg answers when file and ledger row are on disk (fsync, and a commit
with synchronous=FULL); dcmtk's storescp writes without fsync; Orthanc's files are not fsynced by default; pynetdicom
here does nothing with the object.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from rtseg_daemon.ledger.engine import open_ledger
from rtseg_daemon.ledger.migrate import upgrade

TITLE = "RTSEG"
ENVIRONMENT = os.environ | {"TCP_NODELAY": "1"}
PLAIN = """
import sys
from pynetdicom import AE, evt
from pydicom.uid import CTImageStorage
ae = AE("RTSEG")
ae.add_supported_context(CTImageStorage)
ae.maximum_associations = 20
ae.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000)])
"""


@dataclass
class Peer:
    """A storage SCP: how to start it in `folder` on `port`, and how to check what it stored."""

    name: str
    command: Callable[[Path, int], list[str]]
    check: Callable[[Path, Path], None] = lambda _folder, _objects: None


def rtseg(folder: Path, port: int) -> list[str]:
    document = {
        "dicom": {"port": port, "max_associations": 20, "max_per_caller": 20},
        "storage": {"directory": str(folder / "storage"), "minimum_free_gb": 0},
        "logging": {"level": "WARNING"},
    }
    (folder / "storage").mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    engine = open_ledger(f"sqlite:///{folder / 'storage' / 'rtseg.db'}")
    upgrade(engine)
    engine.dispose()
    return [sys.executable, "-m", "rtseg_daemon.daemon.receiver", "--config", str(folder / "config.yaml")]


def check_rtseg(folder: Path, objects: Path) -> None:
    """Every object sent is in the ledger, its file has the ledger's digest, and its data set is the one sent."""
    sent = {str(dcmread(p, specific_tags=["SOPInstanceUID"]).SOPInstanceUID): p for p in objects.rglob("*.dcm")}
    with contextlib.closing(sqlite3.connect(folder / "storage" / "rtseg.db")) as ledger:
        kept = ledger.execute("select sop_instance_uid, path, sha256 from instance where state = 'KEPT'").fetchall()
    assert {uid for uid, _, _ in kept} == set(sent), f"{len(kept)} of {len(sent)} objects are in the ledger"
    for uid, path, digest in kept:
        stored = (folder / "storage" / path).read_bytes()
        assert hashlib.sha256(stored).hexdigest() == digest, f"{path} was altered"
        assert data_set_bytes(stored) == data_set_bytes(sent[uid].read_bytes()), f"{path} is not what was sent"


def data_set_bytes(file: bytes) -> bytes:
    """What follows the file meta information (PS3.10, 7.1: its length stands in (0002,0000))."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


def storescp(folder: Path, port: int) -> list[str]:
    return ["/usr/bin/storescp", "--fork", "-aet", TITLE, "-od", str(folder), "-pdu", "131072", str(port)]


def orthanc(folder: Path, port: int) -> list[str]:
    settings = {
        "Name": TITLE,
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpServerEnabled": False,
        "DicomAet": TITLE,
        "DicomPort": port,
        "DicomCheckCalledAet": False,
        "DicomThreadsCount": 10,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    return ["/usr/sbin/Orthanc", str(folder / "orthanc.json")]


def pynetdicom(_folder: Path, port: int) -> list[str]:
    return [sys.executable, "-c", PLAIN, str(port)]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("rtseg", rtseg, check_rtseg),
        Peer("storescp", storescp),
        Peer("orthanc", orthanc),
        Peer("pynetdicom", pynetdicom),
    )
}


def make_objects(folder: Path, count: int, associations: int) -> Path:
    """`count` CT images of 512 x 512 in one folder per association, one series each; returns `folder`."""
    noise = np.random.default_rng(0).integers(0, 4096, (512, 512), dtype=np.uint16)
    series = [(generate_uid(), generate_uid()) for _ in range(associations)]
    for number in range(count):
        mine = number % associations
        dataset = image(np.roll(noise, number), *series[mine], number)
        path = folder / f"association-{mine:02d}" / f"{number:04d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
    return folder


def image(pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]", study: str, series: str, number: int) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet, ds.ImageType = "ISO_IR 100", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.Modality = "20260115", "083000", "", "CT"
    ds.Manufacturer, ds.SeriesDescription = "Bench", "bench"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Bench^Ingest", "BENCH", "", "O"
    ds.BodyPartExamined, ds.PatientPosition, ds.SliceThickness = "HEADNECK", "HFS", "3"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, f"{study[:60]}.1"
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = "1", 1, 1, number + 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-250, -250, 3 * number], [1, 0, 0, 0, 1, 0]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns, ds.PixelSpacing = 512, 512, [1, 1]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.PixelData = pixels.tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


@contextlib.contextmanager
def started(peer: Peer, folder: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """The peer listening; stopped by its pid afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "peer.log").open("wb") as log:
        command = peer.command(folder, port)
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=ENVIRONMENT)
    try:
        wait_until_listening(port, process)
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def wait_until_listening(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            time.sleep(0.5)
            return
        time.sleep(0.05)
    raise SystemExit(f"{process.args} does not listen")


def send(objects: Path, port: int) -> float:
    """Send every folder of `objects` over an association of its own, all at once; returns the seconds it took."""
    folders = sorted(path for path in objects.iterdir() if path.is_dir())
    began = time.perf_counter()
    senders = []
    for folder in folders:
        Path(str(folder) + ".report").unlink(missing_ok=True)
        command = ["/usr/bin/dcmsend", "-aec", TITLE, "+sd", "+r", "127.0.0.1", str(port), str(folder)]
        senders.append(subprocess.Popen([*command, "+crf", str(folder) + ".report"], env=ENVIRONMENT))
    for sender in senders:
        sender.wait()
    seconds = time.perf_counter() - began
    for folder in folders:
        report = Path(str(folder) + ".report")
        count = len(list(folder.iterdir()))
        assert re.search(rf"with status SUCCESS +: {count}$", report.read_text(), re.MULTILINE), (
            f"{port}: not all were sent"
        )
    return seconds


@dataclass(frozen=True)
class Result:
    """One round: objects per second, the peer's peak memory in MB, its processor time per object in ms."""

    rate: float
    peak_mb: float
    cpu_ms: float


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def measure(peer: Peer, objects: Path, count: int) -> Result:
    """One round in a fresh storage."""
    folder = Path(tempfile.mkdtemp(prefix=f"ingest-{peer.name}-"))
    try:
        with started(peer, folder) as (port, process):
            before = cpu_seconds(process.pid)
            seconds = send(objects, port)
            time.sleep(0.2)
            cpu = cpu_seconds(process.pid) - before
            status = Path(f"/proc/{process.pid}/status").read_text()
            memory = int(status.split("VmHWM:")[1].split()[0]) / 1024
        peer.check(folder, objects)
        return Result(count / seconds, memory, 1000 * cpu / count)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


Results = dict[tuple[int, str], list[Result]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objects", type=int, default=300)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4, 10])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingest-objects-") as folder:
        sets = {n: make_objects(Path(folder) / str(n), options.objects, n) for n in options.associations}
        results = run(options.peers, sets, options.objects, options.rounds, 60 * options.minutes)
    report(results)


def run(peers: list[str], sets: dict[int, Path], count: int, rounds: int, seconds: float) -> Results:
    """Rounds of every peer with every set of objects, in turn."""
    results: Results = {(associations, name): [] for associations in sets for name in peers}
    deadline, durable = time.monotonic() + seconds, []
    for number in range(rounds):
        if time.monotonic() > deadline:
            print(f"the time is over after {number} rounds")
            break
        durable.append(durable_file_ms())
        print(f"round {number + 1}: load {os.getloadavg()[0]:.1f}, a durable file {durable[-1]:.1f} ms", flush=True)
        for (associations, name), mine in results.items():
            mine.append(measure(PEERS[name], sets[associations], count))
    print(f"a durable file: {statistics.median(durable):.1f} ms (median)\n")
    return results


def durable_file_ms(times: int = 40) -> float:
    """Median milliseconds to write 0.53 MB, fsync, rename, and fsync the folder; no network, no ledger."""
    data, taken = os.urandom(530_000), []
    with tempfile.TemporaryDirectory(prefix="ingest-durable-") as name:
        folder = os.open(name, os.O_RDONLY)
        for number in range(times):
            began = time.perf_counter()
            file = os.open(f"{name}/part", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(file, data)
            os.fsync(file)
            os.close(file)
            Path(name, "part").rename(Path(name, str(number)))
            os.fsync(folder)
            taken.append(time.perf_counter() - began)
        os.close(folder)
    return 1000 * statistics.median(taken)


def report(results: Results) -> None:
    """The table; `rtseg is x times` is the ratio of medians."""
    print(
        "| associations | peer | objects/s (median) | lowest to highest | rtseg is x times | peak MB | CPU ms/object |"
    )
    print("|---|---|---|---|---|---|---|")
    medians = {key: statistics.median(r.rate for r in rounds) for key, rounds in results.items()}
    for (associations, name), rounds in results.items():
        ours = medians.get((associations, "rtseg"), float("nan"))
        span = f"{min(r.rate for r in rounds):.0f} to {max(r.rate for r in rounds):.0f}"
        memory, cpu = max(r.peak_mb for r in rounds), statistics.median(r.cpu_ms for r in rounds)
        rate = medians[associations, name]
        print(f"| {associations} | {name} | {rate:.0f} | {span} | {ours / rate:.2f} | {memory:.0f} | {cpu:.1f} |")


if __name__ == "__main__":
    main()
