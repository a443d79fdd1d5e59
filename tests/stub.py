"""A worker and a `serve` whose network is a stub: two balls in every body, at once. Nothing else is stubbed.

`python -m tests.stub serve --config FILE` is `rtseg-daemon serve` with this module as its worker. What the stub does
with a case can be set in the environment: STUB_SECONDS (how long inference takes, with a beat every 50 ms), STUB_DIE
(a file; while it exists the worker kills itself in mid-inference), STUB_HANG (a file; while it exists it stands still).
STUB_PICTURE (whether the page to review a case by is drawn).
STUB_RESTART_SECONDS is the longest pause before a child that died is started again, for tests that kill hundreds;
with STUB_TEMPLATE children are forked off a process that waits there (`tests.template`).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from rtseg_daemon.anatomy.organ import Organ, Uncertainty
from rtseg_daemon.anatomy.volume import Box, Volume
from rtseg_daemon.bundles import Bundle
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.daemon import children, worker
from rtseg_daemon.daemon.children import Modules
from rtseg_daemon.daemon.supervisor import serve
from rtseg_daemon.ledger import retry
from rtseg_daemon.segment.ensemble import Ensemble
from rtseg_daemon.segment.pipeline import Report, Segmentation
from rtseg_daemon.work import case, painter
from tests.template import Forked


class StubSegmenter:
    """Finds every organ of its bundle as a ball beside the middle of the volume."""

    engine = SimpleNamespace(on_card=False)

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def segment_volume(self, ct: Volume, report: Report) -> Segmentation:
        report("infer")
        misbehave(report)
        organs = [ball(ct, organ.name, index) for index, organ in enumerate(self.bundle.classes)]
        nothing = cast(Ensemble, None)
        return Segmentation(organs, nothing, np.zeros(ct.shape, np.float32), ct, {"infer": 0.0})


def misbehave(report: Report) -> None:
    """What the environment asks for."""
    deadline = time.monotonic() + float(os.environ.get("STUB_SECONDS", "0"))
    while time.monotonic() < deadline:
        time.sleep(0.05)
        report("infer")
    if Path(os.environ.get("STUB_DIE", "/nonexistent")).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    while Path(os.environ.get("STUB_HANG", "/nonexistent")).exists():
        time.sleep(0.05)


def ball(ct: Volume, name: str, index: int) -> Organ:
    """A ball of 16 mm radius; neighbours do not touch."""
    centre = [n * s / 2 for n, s in zip(ct.shape, ct.spacing_mm, strict=True)]
    centre[2] += 40.0 * (index - 1)
    axes = [np.arange(n) * s - c for n, s, c in zip(ct.shape, ct.spacing_mm, centre, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    mask = z**2 + y**2 + x**2 < 16.0**2
    volume_ml = float(mask.sum()) * ct.voxel_ml
    return Organ(name, Box((0, 0, 0), ct.shape), mask, None, volume_ml, Uncertainty(vvc=0.1, entropy=0.2))


def load_stub(bundle: Bundle, _compute: Compute, _cache: Path | None) -> Any:
    return StubSegmenter(bundle)


def no_picture(*_arguments: Any) -> None:
    """A page takes longer than all else that is done with a small case."""


def main(arguments: Sequence[str]) -> int:
    """The supervisor's process (`serve --config FILE`), or a worker's."""
    if arguments[0] != "serve":
        case.load_segmenter = load_stub
        if "STUB_PICTURE" not in os.environ:
            painter.draw = no_picture
        worker.main(arguments)
        return 0
    retry.LONGEST_RESTART_SECONDS = float(os.environ.get("STUB_RESTART_SECONDS", retry.LONGEST_RESTART_SECONDS))
    if "STUB_TEMPLATE" in os.environ:
        children.subprocess = SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE)  # type: ignore[assignment]
    return serve(Path(arguments[2]), Modules(worker="tests.stub", card="tests.stub_card:StubCard"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
