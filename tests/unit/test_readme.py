"""What the README claims of the bundle that is installed."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_readme_quotes_the_speed_of_the_installed_bundle_and_says_of_which_version_other_figures_are() -> None:
    installed = yaml.safe_load((ROOT / "models" / "han-oar" / "bundle.yaml").read_text())["version"]
    text = " ".join((ROOT / "README.md").read_text().split())
    speed = text.split("Speed, on two processor cores")[1].split("## ")[0]
    assert f"`han-oar` {installed}, the bundle that is installed" in speed
    performance = (ROOT / "docs" / "performance.md").read_text()
    assert f"`han-oar` {installed}, six members" in performance, "the figure has its row"


def table_of(page: str, heading: str) -> list[str]:
    """The lines of the first table below a heading."""
    below = (ROOT / page).read_text().split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    return [line for line in below.splitlines() if line.startswith("|")]


def test_the_readmes_table_of_methods_is_the_one_of_the_results() -> None:
    lines = table_of("docs/results.md", "## All methods")
    assert len(lines) > 2
    assert table_of("README.md", "### All methods") == lines
