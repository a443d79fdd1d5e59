"""The results page shows the figures that its report holds, from wherever it lies."""

from pathlib import Path

from rtseg_training.results import figure_lines


def test_figures_are_linked_from_the_page_and_only_those_that_are_there(tmp_path: Path) -> None:
    report, page = tmp_path / "runs" / "report", tmp_path / "docs"
    report.mkdir(parents=True)
    page.mkdir()
    (report / "vvc.png").write_bytes(b"")
    assert figure_lines(report, page) == ["![VVC against Dice (seed 001, Fig. 13)](../runs/report/vvc.png)"]
