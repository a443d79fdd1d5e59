"""The dashboard: from a click to the picture, slices per second, memory, and what three viewers cost reception.

    python bench/web.py [--slices 150] [--jobs 10000] [--objects 150] [--rounds 3] [--log FILE]

One phantom of 512 x 512 pixels lies in a storage as the daemon leaves it, with contours and an entropy map. The
dashboard's own process serves it, and Debian's chromium looks at it. "Newest" is the first look at one of the newest
cases, which are read ahead. "Old" is the first look at another one, clicked as soon as its link is there, "pointed"
the same after the pointer rested on the link for 0.3 s. "Again" finds it unpacked. The list pages are asked of a ledger
with `--jobs` made-up jobs.

Reception is measured as in `bench/ingest.py`, in turn without viewers and with three that scroll at 30 slices a second
each, in one process that only fetches. All of it shares this machine's cores, the viewers and the sender too, which in
a clinic have machines of their own. Needs chromium and dcmtk.
"""

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ingest import Peer, make_objects, rtseg, send, started
from playwright.sync_api import Page

sys.path.insert(0, str(Path(__file__).parents[1]))

from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.config.web import Role
from rtseg_daemon.ct.series import load_series
from rtseg_daemon.demo import phantom
from rtseg_daemon.ledger.engine import writing
from rtseg_daemon.ledger.schema import Job
from rtseg_daemon.ledger.states import JobState
from rtseg_daemon.web.people import sessions
from rtseg_daemon.web.place import Place
from rtseg_daemon.web.viewer.ahead import NEWEST
from tests.chromium import chromium, place_on_a_port, visitor
from tests.dashboard import make_account
from tests.filled import Clinic
from tests.viewed import doubt_around, drawn_organ, stored_job, stored_series

SEED = 3
VIEWERS = 3
READ_AHEAD_SECONDS = 10.0
REST_SECONDS = 0.3
SLICES_A_SECOND = 30
BLOCK = 8
SERIES = 4
LISTS = ("/", "/worklist", "/cases", "/cases?state=HELD", "/quality", "/audit")
READY = "[data-viewer][data-ready]:not([data-shown=''])"
WATCH = f"""new MutationObserver((_, self) => {{
  if (document.querySelector("{READY}")) {{
    window.shownAt = performance.now();
    self.disconnect();
  }}
}}).observe(document, {{subtree: true, childList: true, attributes: true}});"""
SCROLL = """async (count) => {
  const viewer = document.querySelector('[data-viewer]');
  const press = (key) => viewer.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
  const shown = async (number) => {
    while (viewer.dataset.shown !== `axial:${number}`) await new Promise((go) => requestAnimationFrame(go));
  };
  press('Home');
  await shown(1);
  const began = performance.now();
  for (let number = 2; number <= count; number += 1) {
    press('ArrowUp');
    await shown(number);
  }
  return (count - 1) / (performance.now() - began) * 1000;
}"""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def fill(place: Place, folder: Path, slices: int) -> list[int]:
    """Several series of one phantom with a result each; returns the jobs."""
    volume, masks = phantom.make_phantom(SEED)
    at = np.linspace(0, volume.shape[0] - 1, slices).round().astype(int)
    spacing = (volume.spacing_mm[0] * volume.shape[0] / slices, *volume.spacing_mm[1:])
    volume = Volume(volume.array[at], spacing, volume.origin_mm)
    jobs = []
    for number in range(SERIES):
        files = phantom.write_series(volume, folder / f"ct{number}", SEED + number)
        series = load_series(files)
        organs = []
        for name, mask in masks.items():
            held = np.flatnonzero(mask[at].any(axis=(1, 2))) + 1
            organs.append(drawn_organ(name, mask[at], volume, (int(held[0]), int(held[len(held) // 3]))))
        row = stored_series(place.engine, place.layout, files, series)
        jobs.append(stored_job(place.engine, place.layout, row, series, organs, doubt_around(organs, volume)))
    return jobs


@contextmanager
def dashboard(place: Place, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The dashboard's process as the supervisor starts it. Ended by its pid."""
    command = [sys.executable, "-m", "rtseg_daemon.daemon.web", "--config", str(folder / "config.yaml")]
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        while get(place, "/healthz", {})[0] == 0:
            if process.poll() is not None:
                raise SystemExit((folder / "web.log").read_text())
            time.sleep(0.1)
        time.sleep(3.0)  # a reader starts beside it
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def get(place: Place, path: str, cookie: dict[str, str]) -> tuple[int, float]:
    """Status, 0 where nobody listens, and seconds of one request on a line of its own."""
    line = http.client.HTTPConnection(place.config.web.host, place.config.web.port, timeout=60)
    began = time.perf_counter()
    try:
        line.request("GET", path, headers=cookie)
        answer = line.getresponse()
        answer.read()
    except ConnectionRefusedError:
        return 0, 0.0
    finally:
        line.close()
    return answer.status, time.perf_counter() - began


def cookie_of(place: Place) -> dict[str, str]:
    name = make_account(place, "bench", Role.VIEWER)
    with writing(place.engine) as session:
        secret = sessions.begin(session, name, None, place.now())
    return {"cookie": f"{sessions.cookie_name(place.config.web)}={secret}"}


def click(page: Page, address: str, job: int, rest: float = 0.0) -> float:
    """Seconds from a click in the list to CT, contours and heat map. The pointer rests on the link before."""
    page.goto(f"{address}/cases")
    link = page.locator(f'a[href="/cases/{job}"]').first
    link.wait_for()
    if rest:
        link.hover()
        time.sleep(rest)
    link.click()
    page.locator(READY).wait_for(state="attached")
    return float(page.evaluate("window.shownAt")) / 1000


@dataclass
class Memory:
    """MB of a process now, and the most it ever had."""

    now: float
    most: float

    @staticmethod
    def of(pid: int) -> "Memory":
        status = Path(f"/proc/{pid}/status").read_text()
        found = {name: int(status.split(f"{name}:")[1].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM")}
        return Memory(found["VmRSS"], found["VmHWM"])


def readers_of(pid: int) -> list[int]:
    """The reading processes, whichever thread started them."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


class Scrolling:
    """Viewers as the server sees them: each fetches blocks of slices up and down a CT, so many slices a second."""

    def __init__(self, place: Place, jobs: list[int], slices: int, cookie: dict[str, str]) -> None:
        self.stop = threading.Event()
        self.fetched = 0
        self.threads = [
            threading.Thread(target=self.look, args=(place, jobs[n % len(jobs)], slices, cookie))
            for n in range(VIEWERS)
        ]

    def look(self, place: Place, job: int, slices: int, cookie: dict[str, str]) -> None:
        line = http.client.HTTPConnection(place.config.web.host, place.config.web.port, timeout=60)
        numbers = list(range(1, slices - BLOCK, BLOCK))
        due = time.monotonic()
        while not self.stop.is_set():
            for number in [*numbers, *reversed(numbers)]:
                line.request("GET", f"/cases/{job}/slices/axial/{number}?count={BLOCK}", headers=cookie)
                line.getresponse().read()
                self.fetched += BLOCK
                due = max(due + BLOCK / SLICES_A_SECOND, time.monotonic() - 1.0)
                if self.stop.wait(max(0.0, due - time.monotonic())):
                    return

    @contextmanager
    def running(self) -> Iterator["Scrolling"]:
        for thread in self.threads:
            thread.start()
        yield self
        self.stop.set()
        for thread in self.threads:
            thread.join()


def first_looks(place: Place, folder: Path, jobs: list[int], rest: float, pause: float) -> list[float]:
    """Seconds from a click to the picture, of cases that this dashboard has shown to nobody yet."""
    address = f"http://{place.config.web.host}:{place.config.web.port}"
    with dashboard(place, folder), chromium() as browser:
        window = visitor(browser, place, address)
        window.add_init_script(WATCH)
        page = window.new_page()
        page.goto(f"{address}/cases")
        time.sleep(pause)
        return [round(click(page, address, job, rest), 3) for job in jobs]


def make_old(place: Place, jobs: list[int]) -> None:
    """Newer cases than these, as many as are read ahead."""
    with writing(place.engine) as session:
        first = session.get_one(Job, jobs[0])
        same = ("series_id", "last_instance_id", "route", "created_at", "updated_at")
        for number in range(NEWEST):
            facts = {name: getattr(first, name) for name in same}
            session.add(Job(**facts, bundle=f"newer-{number}", state=JobState.HELD))


def look(place: Place, folder: Path, jobs: list[int], slices: int, rounds: int) -> dict[str, Any]:
    """What a person sees of it: seconds, slices per second, and what the process weighs afterwards."""
    address = f"http://{place.config.web.host}:{place.config.web.port}"
    found: dict[str, Any] = {"newest_s": first_looks(place, folder, jobs, 0.0, READ_AHEAD_SECONDS)}
    make_old(place, jobs)
    jobs = jobs[1:]  # the first one's images are those of the newer cases
    found |= {"old_s": first_looks(place, folder, jobs, 0.0, READ_AHEAD_SECONDS)}
    found |= {"pointed_s": first_looks(place, folder, jobs, REST_SECONDS, READ_AHEAD_SECONDS)}
    say(f"first look at the newest {found['newest_s']}, at old ones {found['old_s']}, pointed {found['pointed_s']} s")
    found |= {"again_s": [], "slices_a_second": []}
    with dashboard(place, folder) as process, chromium() as browser:
        window = visitor(browser, place, address)
        window.add_init_script(WATCH)
        page = window.new_page()
        click(page, address, jobs[0])
        for _ in range(rounds):
            found["again_s"].append(round(click(page, address, jobs[0]), 3))
            found["slices_a_second"].append(round(float(page.evaluate(SCROLL, slices)), 1))
            say(f"again {found['again_s'][-1]} s, {found['slices_a_second'][-1]} slices a second")
        memory = Memory.of(process.pid)
        found["web_mb"] = {"now": round(memory.now), "most": round(memory.most)}
        found["readers_mb"] = [round(Memory.of(pid).now) for pid in readers_of(process.pid)]
        cookie = cookie_of(place)
        found["block_ms"] = {
            plane: round(1000 * statistics.median(get(place, path, cookie)[1] for _ in range(10)), 1)
            for plane in ("axial", "coronal", "sagittal")
            for path in [f"/cases/{jobs[0]}/slices/{plane}/40?count={BLOCK}"]
        }
    return found


def lists(folder: Path, jobs: int, rounds: int) -> dict[str, Any]:
    """Median milliseconds of each list page with so many jobs."""
    place = place_on_a_port(folder)
    Clinic(place.engine, place.layout, time.time(), jobs).fill()
    cookie = cookie_of(place)
    with dashboard(place, folder):
        found = {}
        for path in LISTS:
            asked = [get(place, path, cookie) for _ in range(rounds + 2)][2:]
            assert {status for status, _ in asked} == {200}, (path, asked)
            found[path] = round(1000 * statistics.median(seconds for _, seconds in asked), 1)
            say(f"{path} {found[path]} ms")
    return found


def reception(
    place: Place, folder: Path, jobs: list[int], slices: int, objects: int, rounds: int
) -> dict[str, list[float]]:
    """Objects per second, in turn without viewers and with them; the dashboard runs in both."""
    sent = make_objects(folder / "objects", objects, 1)
    cookie = cookie_of(place)
    found: dict[str, list[float]] = {"without": [], "with": [], "fetched_a_second": []}
    with dashboard(place, folder):
        for job in jobs:
            assert get(place, f"/cases/{job}/volume", cookie)[0] == 200
        for number in range(rounds):
            for what in ("without", "with") if number % 2 == 0 else ("with", "without"):
                storage = folder / f"reception-{number}-{what}"
                storage.mkdir()
                with started(Peer("rtseg", rtseg), storage) as (port, _):
                    if what == "without":
                        rate = objects / send(sent, port)
                    else:
                        with Scrolling(place, jobs, slices, cookie).running() as scrolling:
                            seconds = send(sent, port)
                            found["fetched_a_second"].append(round(scrolling.fetched / seconds, 1))
                        rate = objects / seconds
                found[what].append(round(rate, 1))
                say(f"{what} viewers: {rate:.0f} objects a second")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=150)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log", type=Path)
    asked = parser.parse_args()
    found: dict[str, Any] = {"slices": asked.slices, "cores": os.cpu_count(), "load_before": os.getloadavg()}
    with tempfile.TemporaryDirectory() as name:
        folder, listed = Path(name) / "looked", Path(name) / "listed"
        folder.mkdir()
        listed.mkdir()
        place = place_on_a_port(folder)
        jobs = fill(place, folder, asked.slices)
        say("the phantom is there")
        found |= look(place, folder, jobs, asked.slices, asked.rounds)
        found["reception"] = reception(place, folder, jobs, asked.slices, asked.objects, asked.rounds)
        found["lists_ms"] = {"jobs": asked.jobs} | lists(listed, asked.jobs, 9)
    pairs = zip(found["reception"]["with"], found["reception"]["without"], strict=True)
    found["reception"]["ratio"] = round(statistics.median(one / other for one, other in pairs), 3)
    found["load_after"] = os.getloadavg()
    line = json.dumps(found)
    if asked.log:
        with asked.log.open("a") as log:
            log.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
