"""The worker's memory stays bounded on the largest planning CT: 512 x 512 x 300."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from rtseg_daemon.bundles import load_bundle
from rtseg_daemon.segment.pipeline import Segmenter
from rtseg_daemon.anatomy.volume import Volume
from rtseg_daemon.config.sections import Compute

hu = np.full((300, 512, 512), -1000, np.int16)
z, y, x = np.ogrid[:300, :512, :512]
hu[:, 100:400, 60:450] = 40
hu[:, 200:260, 230:290] = 700
bundle = load_bundle(Path(sys.argv[1]), sys.argv[2])
segmenter = Segmenter.load(bundle, Compute(device="cpu"), Path(sys.argv[3]))
segmenter.segment_volume(Volume(hu, (2.0, 0.98, 0.98), (0.0, 0.0, 0.0)))
# not ru_maxrss: over an exec it keeps the peak of the process that started this one
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)
"""


def test_a_ct_of_300_slices_needs_less_than_4_gb(tmp_path, engine_cache):
    from rtseg_daemon.bundles import bundle_names, installed_models

    if "han-oar" not in bundle_names(installed_models()):
        pytest.skip("the bundle han-oar is not installed")
    program = Path(tmp_path) / "memory.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(installed_models()), "han-oar", str(engine_cache)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    peak = int(answer.stdout.split()[-1])
    assert peak < 4096
