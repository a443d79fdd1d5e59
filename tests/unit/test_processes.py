"""What each process loads: memory and start of five processes depend on it, and torch belongs to workers alone."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer import Typer

from rtseg_daemon import cli

ROOT = Path(__file__).parents[2]
NETWORKS = {"torch", "openvino", "safetensors"}
IMAGES = {"SimpleITK", "cc3d", "scipy", "skimage", "contourpy", "matplotlib", "pandas"}
DICOM = {"pydicom", "pynetdicom"}
LEDGER = {"sqlalchemy", "alembic", "apscheduler"}
HEAVY = NETWORKS | IMAGES | DICOM | LEDGER | {"numpy", "pydantic"}

MAY_LOAD = {
    "rtseg_daemon.daemon.supervisor": LEDGER | {"numpy", "pydantic", "pydicom"},
    "rtseg_daemon.daemon.receiver": DICOM | {"sqlalchemy", "numpy", "pydantic"},
    "rtseg_daemon.daemon.deliverer": DICOM | {"sqlalchemy", "numpy", "pydantic"},
    "rtseg_daemon.daemon.feedback": DICOM | {"sqlalchemy", "numpy", "pydantic", "scipy", "skimage", "contourpy"},
    "rtseg_daemon.daemon.web": {"sqlalchemy", "alembic", "numpy", "pydantic", "pydicom"},
    "rtseg_daemon.web.viewer.reader": {"numpy", "pydantic", "pydicom", "contourpy"},
    "rtseg_daemon.daemon.worker": IMAGES - {"matplotlib", "pandas"} | {"pydicom", "sqlalchemy", "numpy", "pydantic"},
    "rtseg_daemon.daemon.card": IMAGES - {"matplotlib", "pandas"}
    | {"pydicom", "sqlalchemy", "alembic", "numpy", "pydantic"},
    "rtseg_daemon.daemon.launcher": {"sqlalchemy", "numpy", "pydantic"},
    "rtseg_daemon.cli": set(),
    "rtseg_daemon.cli.running": {"sqlalchemy", "alembic", "pydantic"},
    "rtseg_daemon.cli.jobs": {"sqlalchemy", "alembic", "pydantic"},
    "rtseg_daemon.cli.series": {"sqlalchemy", "alembic", "pydantic"},
    "rtseg_daemon.cli.deliveries": {"sqlalchemy", "alembic", "pydantic"},
    "rtseg_daemon.cli.copies": {"sqlalchemy", "alembic", "pydantic"},
    "rtseg_daemon.cli.users": {"sqlalchemy", "alembic", "pydantic"},
    "rtseg_daemon.cli.tokens": {"sqlalchemy", "alembic", "pydantic"},
    "rtseg_daemon.cli.feedback": {"sqlalchemy", "alembic", "pydantic"},
    "rtseg_daemon.cli.models": {"sqlalchemy", "alembic", "pydantic"},
    "rtseg_daemon.cli.configuration": DICOM | {"SimpleITK", "sqlalchemy", "alembic", "numpy", "pydantic"},
    "rtseg_daemon.cli.asking": DICOM | {"sqlalchemy", "alembic", "numpy", "pydantic"},
}
"""Module of a process or command -> which of HEAVY it may load to start; torch comes with a worker's first bundle."""


def loaded_after(code: str) -> set[str]:
    """Which of HEAVY a fresh interpreter has loaded once it ran `code`."""
    program = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    return HEAVY & set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("module", MAY_LOAD)
def test_a_process_loads_only_what_it_needs(module: str) -> None:
    assert loaded_after(f"import {module}") <= MAY_LOAD[module]


@pytest.mark.parametrize(("arguments", "may_load"), [(["--help"], set()), (["nosuch"], {"pydantic"})])
def test_the_listing_of_commands_and_a_mistyped_one_load_no_library(arguments: list[str], may_load: set[str]) -> None:
    """Typer itself asks for pydantic where it tells of a mistake."""
    code = (
        "from rtseg_daemon import cli\n"
        f"sys.argv = ['rtseg-daemon', *{arguments}]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass"
    )
    assert loaded_after(code) <= may_load


@pytest.mark.parametrize("command", cli.Commands.later, ids=lambda command: str(command.name))
def test_the_listing_says_of_every_command_what_its_own_help_says(command: cli.LaterCommand) -> None:
    real = command.load()
    assert real.name == command.name
    assert real.help is not None
    assert " ".join(real.help.split("\n\n")[0].split()) == command.help
    assert isinstance(cli.app, Typer)


def imports_in_functions(path: Path) -> Iterator[tuple[int, bool]]:
    """Line of every import inside a function, and whether a comment stands on it or on the line above."""
    text = path.read_text()
    lines = text.splitlines()
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {node for function in functions for node in ast.walk(function)}
    for line in sorted(node.lineno for node in inside if isinstance(node, ast.Import | ast.ImportFrom)):
        yield line, "  # " in lines[line - 1] or lines[line - 2].lstrip().startswith("#")


def test_an_import_inside_a_function_says_why_it_is_not_at_the_top() -> None:
    sources = [*(ROOT / "rtseg_daemon").rglob("*.py"), *(ROOT / "training" / "rtseg_training").rglob("*.py")]
    found = [(path, line, told) for path in sources for line, told in imports_in_functions(path)]
    assert [f"{path.relative_to(ROOT)}:{line}" for path, line, told in found if not told] == []
    assert len(found) <= 32, "look whether the new one loads a heavy library; most belong at the top"


@pytest.mark.parametrize(
    ("line", "told"), [("import torch  # heavy", True), ("# heavy\n    import torch", True), ("import torch", False)]
)
def test_a_reason_is_a_comment_on_the_line_or_above(tmp_path: Path, line: str, told: bool) -> None:
    path = tmp_path / "module.py"
    path.write_text(f"def start():\n    {line}\n")
    assert [found for _, found in imports_in_functions(path)] == [told]
