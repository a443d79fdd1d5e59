"""The results page shows the figures that its report holds, from wherever it lies, and is the one that ships."""

import shlex
from pathlib import Path

from rtseg_training.cli.app import app
from rtseg_training.compare.results import bad_lines, figure_lines
from rtseg_training.measure.evaluate import TableRow
from rtseg_training.measure.tables import write_csv
from typer.testing import CliRunner

ROOT = Path(__file__).parents[4]


def without_pictures(page: Path) -> list[str]:
    """Its lines. Where a picture lies depends on where the page does."""
    return [line for line in page.read_text().splitlines() if not line.startswith("![")]


def test_the_page_that_ships_is_the_one_that_its_logs_make(tmp_path: Path) -> None:
    recipe = (ROOT / "Makefile").read_text().split("\nresults:", 1)[1].split("\n\n", 1)[0].split("rtseg-train ", 1)[1]
    words = [str(ROOT / word) if (ROOT / word).exists() else word for word in shlex.split(recipe.replace("\\\n", " "))]
    (tmp_path / "runs").mkdir()
    for folder in (ROOT / "training" / "runs").iterdir():
        (tmp_path / "runs" / folder.name).symlink_to(folder)
    (tmp_path / "runs" / "curves").unlink()
    out, readme = tmp_path / "page.md", tmp_path / "README.md"
    readme.write_text("above\n\n| method | bundle | old |\n|---|\n| row |\n\nbelow\n")
    words += ["--logs", str(tmp_path / "runs"), "--recipes", str(ROOT / "training" / "recipes")]
    done = CliRunner().invoke(app, [*words, "--out", str(out), "--readme", str(readme)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert without_pictures(out) == without_pictures(ROOT / "docs" / "results.md"), "make results"
    above, *table, below = readme.read_text().split("\n\n")
    assert (above, below) == ("above", "below\n")
    assert "\n".join(table) in (ROOT / "README.md").read_text()
    assert table[0].count("\n") > 3


def test_figures_are_linked_from_the_page_and_only_those_that_are_there(tmp_path: Path) -> None:
    report, page = tmp_path / "runs" / "report", tmp_path / "docs"
    report.mkdir(parents=True)
    page.mkdir()
    (report / "vvc.png").write_bytes(b"")
    assert figure_lines(report, page) == ["![VVC against Dice (seed 001, Fig. 13)](../runs/report/vvc.png)"]


def test_bad_organs_are_counted_apart_where_another_volume_was_drawn(tmp_path: Path) -> None:
    rows: list[TableRow] = [
        {
            "case": f"c{k}",
            "organ": "Larynx",
            "dice": 0.9 - k / 100,
            "predicted": 0.9,
            "true_ml": 30.0,
            "volume_ml": 30.0,
        }
        for k in range(18)
    ]
    rows.append({"case": "c90", "organ": "Larynx", "dice": 0.1, "predicted": 0.8, "true_ml": 2.0, "volume_ml": 30.0})
    rows.append({"case": "c91", "organ": "Larynx", "dice": 0.5, "predicted": 0.6, "true_ml": 20.0, "volume_ml": 30.0})
    rows.append({"case": "c92", "organ": "Larynx", "dice": 0.0, "true_ml": 20.0, "volume_ml": 0.0})
    write_csv(tmp_path / "cases.csv", rows)
    lines = bad_lines(tmp_path)
    assert "In 1 of these 2 " in lines[0]
    assert lines[4:] == [
        "| c90 | Larynx | 0.10 | 0.80 | - | 2.0 | 30.0 |",
        "| c91 | Larynx | 0.50 | 0.60 | - | 20.0 | 30.0 |",
    ]
