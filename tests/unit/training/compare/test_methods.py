"""The table of all methods has the bundles' own figures, and the seconds that were logged."""

import json
from pathlib import Path

import pytest
from rtseg_training.compare.methods import Method, load_methods, method_lines, parameters_of, read_speeds, with_table
from rtseg_training.errors import RecipeError

from rtseg_daemon.bundles import Bundle, bundle_names, installed_models, load_bundle
from rtseg_daemon.networks import build

ROOT = Path(__file__).parents[4]


def bundles() -> list[Bundle]:
    return [load_bundle(installed_models(), name) for name in bundle_names(installed_models())]


def test_every_bundle_that_ships_has_its_row_with_its_figures() -> None:
    shipped = bundles()
    methods = load_methods(ROOT / "training" / "methods.yaml")
    assert sorted(method.bundle for method in methods) == sorted(bundle.name for bundle in shipped)
    lines = method_lines(methods, shipped, {})
    heads = [cell.strip() for cell in lines[0].strip("|").split("|")]
    for method, line in zip(methods, lines[2:], strict=True):
        bundle = next(one for one in shipped if one.name == method.bundle)
        cells = dict(zip(heads, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        assert cells["bundle"] == f"{bundle.name} {bundle.version}"
        assert cells["the paper, on its own data"] == method.paper
        for organ in heads[5:-3]:
            expected = f"{bundle.figures[organ]['dice']:.3f}" if organ in bundle.figures else "-"
            assert cells[organ] == expected


def test_parameters_are_those_of_all_members() -> None:
    bundle = next(one for one in bundles() if one.name == "han-gtv")
    one = sum(p.numel() for p in build("gtv", classes=2, **bundle.arguments).parameters())
    assert parameters_of(bundle) == 6 * one


def test_seconds_are_the_last_that_were_logged_of_this_version_at_that_place(tmp_path: Path) -> None:
    rows = [
        {"bundle": "b", "version": "1", "where": "processor", "seconds": 9.0},
        {"bundle": "b", "version": "1", "where": "processor", "seconds": 4.0},
        {"bundle": "b", "version": "0", "where": "processor", "seconds": 1.0},
        {"bundle": "b", "version": "1", "where": "card", "seconds": 0.25},
    ]
    (tmp_path / "log").write_text("\n".join(map(json.dumps, rows)) + "\n")
    speeds = read_speeds(tmp_path / "log")
    assert (speeds["b 1", "processor"], speeds["b 1", "card"]) == (4.0, 0.25)
    shipped = bundles()[0]
    known = {(f"{shipped.name} {shipped.version}", "card"): 0.25}
    (line,) = method_lines([Method(bundle=shipped.name, method="M", paper="P")], [shipped], known)[2:]
    assert line.endswith("| - | 0.25 | P |")


@pytest.mark.parametrize("text", ["no JSON", '{"bundle": "b"}'])
def test_a_log_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "log").write_text(text)
    with pytest.raises(RecipeError, match=r"log cannot be read .*; bench/methods\.py writes it"):
        read_speeds(tmp_path / "log")


def test_a_wrong_key_among_the_methods_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("- {bundle: b, method: M, papers: P}\n")
    with pytest.raises(RecipeError, match="paper"):
        load_methods(tmp_path / "m.yaml")


def test_a_page_without_the_table_is_named_and_one_at_its_end_is_replaced() -> None:
    with pytest.raises(RecipeError, match="no table of all methods"):
        with_table("| other | table |\n", ["| new |"])
    assert with_table("text\n| method | bundle | a |\n|---|\n| old |", ["| new |"]) == "text\n| new |"
