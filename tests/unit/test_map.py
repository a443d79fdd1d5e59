"""The map of files says what is there."""

import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def load_maker():
    spec = importlib.util.spec_from_file_location("make_map", ROOT / "docs" / "make_map.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_module_stands_in_the_map_with_its_purpose():
    done = subprocess.run([sys.executable, "docs/make_map.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_module_states_its_purpose_in_one_line():
    maker = load_maker()
    silent = [
        str(path.relative_to(ROOT))
        for folder in maker.folders()
        for path in maker.modules(folder)
        if not maker.purpose(path)
    ]
    assert silent == []


def test_no_two_test_modules_share_a_name() -> None:
    """pytest imports them by name alone: the second of two would not be collected."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, after in itertools.pairwise(names) if name == after] == []
