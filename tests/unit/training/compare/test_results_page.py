"""The results page shows the figures that its report holds, from wherever it lies."""

from pathlib import Path

from rtseg_training.compare.results import bad_lines, figure_lines
from rtseg_training.measure.evaluate import TableRow
from rtseg_training.measure.tables import write_csv


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
