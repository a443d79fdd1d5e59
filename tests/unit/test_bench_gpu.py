"""The card's benchmark runs on a processor too, with no more installed than torch, numpy and safetensors."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "gpu.py"

ALONE = """
import runpy, sys
FORBIDDEN = ("pydantic", "yaml", "SimpleITK", "openvino", "pydicom", "scipy", "cc3d", "structlog", "sqlalchemy")
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            raise ImportError(f"{name} is not installed here")
sys.meta_path.insert(0, Missing())
sys.argv = ["gpu.py", "--device", "cpu"]

runpy.run_path(BENCH, run_name="__main__")
"""


def test_the_benchmark_of_a_card_runs_tiny_on_a_processor_with_nothing_else_installed():
    script = ALONE.replace("BENCH", repr(str(BENCH)))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for line in ("matrix peak", "han-oar, 150 slices", "width 48 at 1 x 1 x 3 mm", "AnatomyNet", "training step"):
        assert line in done.stdout
    assert done.stdout.count("this engine, with uncertainty") == 3
