"""The demo: a PACS, this daemon and a planning system on loopback, and one made-up patient going all the way.

The daemon is the real one, started as a process. Only the two partners are played here.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydicom import dcmread
from pydicom.uid import CTImageStorage, RTStructureSetStorage
from pynetdicom import AE, evt
from rich.console import Console
from rich.table import Table

from rtseg_daemon.anatomy.organ import Organ
from rtseg_daemon.anatomy.volume import Array, Volume, grid_of
from rtseg_daemon.config.file import load_config
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.demo.phantom import make_phantom, write_series
from rtseg_daemon.demo.picture import Outline, draw
from rtseg_daemon.errors import RtsegError
from rtseg_daemon.ledger.engine import open_ledger, writing
from rtseg_daemon.ledger.views import PICTURE
from rtseg_daemon.rtstruct.codes import anatomy_of
from rtseg_daemon.rtstruct.reading import read_structures, structures_on
from rtseg_daemon.segment.entropy_map import load_entropy_map
from rtseg_daemon.web.people.first_start import new_link

VERIFICATION = "1.2.840.10008.1.1"
SEED = 1
TIMEOUT_S = 170.0


class DemoError(RtsegError):
    """The demo did not come to its end. The message says at which step and where to look."""


@dataclass(frozen=True)
class OrganFound:
    """What the demo found for one organ. `dice` compares with the phantom's true organ."""

    name: str
    comment: str
    volume_ml: float
    dice: float | None

    @property
    def flag(self) -> str:
        return self.comment.split(" ", 1)[0]

    def value(self, key: str) -> str:
        """The value of `key=` in the comment line, or a dash."""
        return next((w.removeprefix(key + "=") for w in self.comment.split() if w.startswith(key + "=")), "-")


MARK = ".left-by-a-demo"


def run_demo(out: Path, console: Console, *, stay: bool = False) -> None:
    """Send the phantom through the daemon. Leaves everything in `out`. Raises DemoError naming the step that failed.

    With `stay` the daemon and its dashboard run on until Ctrl-C.
    """
    make_room(out)
    with console.status("making up a patient"):
        ct, truth = make_phantom(SEED)
        files = write_series(ct, out / "ct", SEED)
    config = write_config(out, *free_ports(3))
    with planning_system(config, out / "received") as received, daemon(config, out, console):
        with console.status(f"PACS: sending {len(files)} CT images to the daemon"):
            send_images(config, files)
        console.print(f"sent {len(files)} images of 512 x 512; now the daemon assembles, segments and delivers")
        job = wait_for_delivery(config, received, console)
        if stay:
            show_result(out, received[0], job, ct, truth, files, console)
            leave_open(config, job["id"], console)
            return
    show_result(out, received[0], job, ct, truth, files, console)
    console.print(
        f"page        {case_page(config, job['id'])}\n"
        "            while the daemon runs: rtseg-daemon demo --open leaves it running and prints a link to log in by",
        highlight=False,
    )


def make_room(out: Path) -> None:
    """An empty folder `out`, what an earlier demo left there removed. Raises DemoError if anybody else's files are."""
    if out.exists() and not (out.is_dir() and ((out / MARK).is_file() or not any(out.iterdir()))):
        raise DemoError(f"{out} exists and was not left by a demo; name a folder of its own with --out")
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / MARK).write_text("left by rtseg-daemon demo, which removes this folder when it runs again\n")


def free_ports(count: int) -> list[int]:
    """TCP ports on loopback that nobody uses, no two the same."""
    with ExitStack() as probes:
        found = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in found:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in found]


def write_config(out: Path, listen: int, deliver: int, web: int) -> Path:
    """A configuration for two partners on loopback, in `out`."""
    config = {
        "dicom": {"port": listen, "allowed_callers": [{"ae_title": "DEMOPACS", "host": "127.0.0.1"}]},
        "storage": {"directory": str((out / "storage").absolute()), "minimum_free_gb": 0.5},
        "series": {"quiet_seconds": 2},
        "routes": [
            {"name": "head-neck", "match": {"modality": "CT"}, "bundle": "han-oar", "destinations": ["demo-tps"]}
        ],
        "destinations": [{"name": "demo-tps", "ae_title": "DEMOTPS", "host": "127.0.0.1", "port": deliver}],
        "web": {"port": web},
    }
    path = out / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@contextmanager
def planning_system(config: Path, folder: Path) -> Iterator[list[Path]]:
    """Play the planning system: keep every RTSTRUCT that arrives in `folder`. Yields the list of files."""
    folder.mkdir()
    received: list[Path] = []

    def store(event: Any) -> int:
        path = folder / "RTSTRUCT.dcm"
        ds = event.dataset
        ds.file_meta = event.file_meta
        ds.save_as(path, enforce_file_format=True)
        received.append(path)
        return 0x0000

    ae = AE(ae_title="DEMOTPS")
    ae.add_supported_context(RTStructureSetStorage)
    ae.add_supported_context(VERIFICATION)
    port = yaml.safe_load(config.read_text())["destinations"][0]["port"]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield received
    finally:
        server.shutdown()


@contextmanager
def daemon(config: Path, out: Path, console: Console) -> Iterator[None]:
    """Run `rtseg-daemon serve` as a process until the end of the block. Its log goes to `out`/daemon.log."""
    with (out / "daemon.log").open("w") as log:
        command = [sys.executable, "-m", "rtseg_daemon", "serve", "--config", str(config)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with console.status("starting the daemon"):
                wait_for_listener(process, config, out)
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for_listener(process: "subprocess.Popen[bytes]", config: Path, out: Path) -> None:
    """Return once the daemon answers a C-ECHO."""
    ae = AE(ae_title="DEMOPACS")
    ae.add_requested_context(VERIFICATION)
    port = yaml.safe_load(config.read_text())["dicom"]["port"]
    for _ in range(240):
        if process.poll() is not None:
            raise DemoError(f"the daemon ended with status {process.returncode}; see {out / 'daemon.log'}")
        association = ae.associate("127.0.0.1", port, ae_title="RTSEG")
        if association.is_established:
            association.send_c_echo()
            association.release()
            return
        time.sleep(0.25)
    raise DemoError(f"the daemon did not answer within a minute; see {out / 'daemon.log'}")


def send_images(config: Path, files: list[Path]) -> None:
    """Play the PACS: send the CT over one association. Raises DemoError if an image is refused."""
    ae = AE(ae_title="DEMOPACS")
    ae.add_requested_context(CTImageStorage)
    port = yaml.safe_load(config.read_text())["dicom"]["port"]
    association = ae.associate("127.0.0.1", port, ae_title="RTSEG")
    if not association.is_established:
        raise DemoError("the daemon rejected the PACS's association")
    try:
        for path in files:
            status = association.send_c_store(dcmread(path))
            if "Status" not in status or status.Status != 0x0000:
                raise DemoError(f"the daemon refused {path.name} with status {status.get('Status', 'none')}")
    finally:
        association.release()


def case_page(config: Path, job_id: int) -> str:
    """The address of the case's page on the dashboard."""
    return f"http://127.0.0.1:{load_config(config).web.port}/cases/{job_id}"


def leave_open(config: Path, job_id: int, console: Console) -> None:
    """Print the way to the case's page, and return on Ctrl-C."""
    console.print(
        f"page        {case_page(config, job_id)}\n"
        f"log in by   {login_link(config)}\n"
        "            The link works once: it makes the first account. Ctrl-C ends the daemon.",
        highlight=False,
        soft_wrap=True,
    )
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(1.0)


def login_link(config: Path) -> str:
    """A new one-time link to the dashboard. Raises DemoError where somebody has an account already."""
    settings = load_config(config)
    engine = open_ledger(settings.database_url, existing=True)
    try:
        with writing(engine) as session:
            link = new_link(session, settings.web, time.time())
    finally:
        engine.dispose()
    if link is None:
        raise DemoError("the demo's dashboard has an account already; log in with that one")
    return link


def wait_for_delivery(config: Path, received: list[Path], console: Console) -> dict[str, Any]:
    """Wait until the job is DELIVERED. Returns what `jobs list --json` says of it."""
    deadline = time.monotonic() + TIMEOUT_S
    with console.status("waiting") as status:
        while time.monotonic() < deadline:
            jobs = list_jobs(config)
            if jobs:
                status.update(f"job {jobs[0]['id']}: {jobs[0]['state']}")
                if jobs[0]["state"] in ("HELD", "FAILED", "CANCELLED"):
                    raise DemoError(f"the job is {jobs[0]['state']}: {jobs[0]['error']}")
                if jobs[0]["state"] == "DELIVERED" and received:
                    return jobs[0]
            time.sleep(1.0)
    raise DemoError(f"no result within {TIMEOUT_S:.0f} s; see {config.parent / 'daemon.log'}")


def list_jobs(config: Path) -> list[dict[str, Any]]:
    """What the admin command says about all jobs."""
    command = [sys.executable, "-m", "rtseg_daemon", "jobs", "list", "--json", "--config", str(config)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return []
    jobs: list[dict[str, Any]] = json.loads(answer.stdout)
    return jobs


def dice(a: Array, b: Array) -> float:
    """2 |a and b| / (|a| + |b|), or 0 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / total if total else 0.0


def show_result(
    out: Path, path: Path, job: dict[str, Any], ct: Volume, truth: dict[str, Array], files: list[Path], console: Console
) -> None:
    """Read the delivered file back, compare with the truth, draw, and say where everything lies."""
    ds = dcmread(path)
    organs, _ = structures_on(load_series(files), read_structures(path))
    found = {organ.name: on_grid(organ, ct) for organ in organs}
    comments = {str(r.ROIName): str(r.ROIDescription) for r in ds.StructureSetROISequence}
    rows = []
    for name, comment in comments.items():
        mask = found.get(name, np.zeros(ct.shape, bool))
        score = dice(mask, truth[name]) if name in truth else None
        rows.append(OrganFound(name, comment, float(mask.sum()) * ct.voxel_ml, score))
    outlines = [Outline(r.name, found[r.name], anatomy_of(r.name).colour, r.flag) for r in rows if r.name in found]
    doubt_file = Path(job["rtstruct_path"]).parent / "entropy.npz"
    doubt = load_entropy_map(doubt_file, grid_of(ct)).array if doubt_file.is_file() else None
    draw(ct, outlines, doubt, out / "overlay.png", "rtseg-daemon: a phantom, contoured over the network")
    page = doubt_file.with_name(PICTURE)
    if page.is_file():
        shutil.copyfile(page, out / "review.png")
    console.print(as_table(rows))
    console.print(f"RTSTRUCT    {path}\npicture     {out / 'overlay.png'}\nCT series   {out / 'ct'}")
    console.print(f"to review   {out / 'review.png'}\n" if page.is_file() else "")
    console.print(
        "To look further: open the CT folder and the RTSTRUCT in any planning system or DICOM viewer, or try\n"
        f"  rtseg-daemon jobs show {job['id']} --config {out / 'config.yaml'}\n"
        f"  rtseg-daemon segment {out / 'ct'} --out {out / 'again.dcm'}\n"
        'Then point a PACS at it: see README.md, "Point a PACS at it".',
        highlight=False,
    )


def on_grid(organ: Organ, ct: Volume) -> Array:
    """The organ's mask on the whole grid of the CT."""
    mask = np.zeros(ct.shape, bool)
    if organ.box is not None and organ.mask is not None:
        mask[organ.box.slices] = organ.mask
    return mask


def as_table(rows: list[OrganFound]) -> Table:
    """The organs as a person reads them."""
    table = Table(title="What the planning system received")
    for heading in ("organ", "flag", "volume ml", "VVC", "predicted Dice", "true Dice"):
        table.add_column(heading, justify="left" if heading in ("organ", "flag") else "right")
    for row in rows:
        true = "-" if row.dice is None else f"{row.dice:.2f}"
        table.add_row(row.name, row.flag, f"{row.volume_ml:.1f}", row.value("vvc"), row.value("dice"), true)
    return table
