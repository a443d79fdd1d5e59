"""`quality` for people, programs and spreadsheets, and the monthly report, through the command itself."""

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from rtseg_daemon import cli
from rtseg_daemon.cli.quality import harmless
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.upkeep.drift.shape import COLUMNS
from rtseg_daemon.upkeep.quality import quality_shape
from rtseg_daemon.web.pages.report import month_called, report_html
from rtseg_daemon.web.place import Place
from tests.came_back import come_back
from tests.dashboard import make_place
from tests.filled import Clinic

DRIFT_FROM = 85


@dataclass
class Department:
    place: Place
    config: Path

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli.app, ["quality", *arguments, "--config", str(self.config)])


@pytest.fixture(scope="module")
def department(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Department]:
    folder = tmp_path_factory.mktemp("department")
    place = make_place(folder)
    Clinic(place.engine, place.layout, place.now(), jobs=120).fill()
    come_back(place.engine, drift_from=DRIFT_FROM, organ="Larynx")
    yield Department(place, next(folder.glob("*.yaml")))
    place.engine.dispose()


def test_quality_json_is_what_the_dashboards_twin_shows_with_charts_and_coverage(department: Department) -> None:
    shown = json.loads(department.run("--json").stdout)
    drifting = {chart["organ"] for chart in shown["charts"] if chart["state"] == "drift"}
    assert drifting == {"Larynx"}
    assert {one["organ"] for one in shown["coverage"]} >= {"Larynx", "Parotid_L"}
    with reading(department.place.engine) as session:
        same = quality_shape(session, time.time() - 90 * 86400, time.time())
    assert len(same["charts"]) == len(shown["charts"])
    assert {"bundles", "throughput", "delivery_seconds", "switches"} <= shown.keys()


def test_quality_for_people_tells_what_drifts_and_how_predictions_hold(department: Department) -> None:
    text = department.run().stdout
    assert re.search(r"\d+ charts, \d+ of them without limits yet; drifted or told of", text)
    assert re.search(r"Larynx +mean signed distance +han-oar +head-neck +all +drift +\d+ above", text)
    assert "predicted Dice" in text


def test_quality_csv_has_a_row_for_every_case_of_every_chart(department: Department) -> None:
    rows = list(csv.DictReader(io.StringIO(department.run("--csv").stdout)))
    assert tuple(rows[0]) == COLUMNS
    mine = [row for row in rows if (row["organ"], row["measure"], row["scanner"]) == ("Larynx", "dsc", "")]
    assert len({row["job"] for row in mine}) == len(mine) > 60
    assert any(row["alarm"] == "below" for row in mine)


def test_json_and_csv_at_once_is_wrong_usage(department: Department) -> None:
    assert department.run("--csv", "--json").exit_code == 2


def test_no_cell_of_a_spreadsheet_is_a_formula() -> None:
    assert harmless(["=1+1", "@x", "han-oar", -1.5, None, ""]) == ["'=1+1", "'@x", "han-oar", -1.5, None, ""]


def test_the_monthly_report_is_one_file_that_holds_all_it_shows(department: Department, tmp_path: Path) -> None:
    month = time.strftime("%Y-%m", time.localtime(department.place.now() - 86400))
    file = tmp_path / "report.html"
    done = department.run("report", "--month", month, "--out", str(file))
    assert done.exit_code == 0, done.output
    text = file.read_text()
    assert not re.search(r"(src|href)=", text), "nothing from elsewhere, and no link"
    assert "<script" not in text
    assert text.count("<svg") > 20
    assert f"<h1>Quality of automatic contours, {month}</h1>" in text
    assert "Larynx" in text.split("What needs a look")[1].split("Monthly means")[0]
    assert "HN-" not in text, "no patient is named"


def test_a_month_before_all_jobs_has_a_report_too(department: Department) -> None:
    with reading(department.place.engine) as session:
        text = report_html(session, month_called("2001-02"), {}, department.place.now())
    assert "0 jobs" in text
    assert "All of them are steady" in text


def test_a_month_has_its_ends_and_nonsense_is_none() -> None:
    december = month_called("2025-12")
    assert time.strftime("%Y-%m-%d", time.localtime(december.since)) == "2025-12-01"
    assert time.strftime("%Y-%m-%d", time.localtime(december.until)) == "2026-01-01"
    for wrong in ("2026-13", "November", ""):
        with pytest.raises(ValueError, match="write it as YYYY-MM"):
            month_called(wrong)


def test_limits_are_made_anew_with_a_reason(department: Department) -> None:
    asked = ("anew", "Brainstem", "--bundle", "han-oar", "--json", "--why")
    assert json.loads(department.run(*asked, "new guideline").stdout)["organ"] == "Brainstem"
    assert department.run(*asked, "").exit_code == 1


def test_a_report_of_no_month_is_wrong_usage(department: Department, tmp_path: Path) -> None:
    assert department.run("report", "--month", "now", "--out", str(tmp_path / "x.html")).exit_code == 2
    assert not (tmp_path / "x.html").exists()
