"""The benchmark of the ledger fills and measures both databases, small."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_benchmark_of_the_ledger_runs_tiny_on_both_databases(tmp_path: Path) -> None:
    log = tmp_path / "log"
    small = ("--jobs", "40", "--images", "4", "--rounds", "1", "--folder", str(tmp_path), "--log", str(log))
    command = [sys.executable, str(ROOT / "bench" / "ledger.py"), *small]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["database"] for line in lines} == {"sqlite", "postgresql"}
    by_database = [[line["step"] for line in lines if line["database"] == kind] for kind in ("sqlite", "postgresql")]
    assert by_database[0] == by_database[1]
    assert {"arrival of a series", "claim to SEGMENTED", "retention of one series", "`status`"} <= set(by_database[0])
    assert all(line["full_ms"] > 0 for line in lines)
    assert {line["rows"]["instance"] for line in lines} == {160}
    assert {line["rows"]["job"] for line in lines} == {42}, "forty, two of shadows"
