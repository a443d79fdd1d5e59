"""Learning curves are those of the logs, and drawn where there is more than one point."""

import json
from pathlib import Path

import pytest
from rtseg_training.compare.curves import curve_of, draw_all, mean_curve, picture_name
from rtseg_training.compare.questions import Question

HEAD = "step,seconds,loss,Larynx,Brainstem"


def question(**rows: list[str]) -> Question:
    return Question.model_validate(
        {"title": "SLF1 against NLF2, once", "paper": "", "rows": [{"label": k, "runs": v} for k, v in rows.items()]}
    )


def log(folder: Path, *rows: str, began_with: str | None = None) -> None:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"runs": [folder.name, *([began_with] if began_with else [])]}))
    (folder / "log.csv").write_text("\n".join([HEAD, *rows]) + "\n")


def test_a_curve_has_the_mean_over_organs_of_every_step_that_was_validated(tmp_path: Path) -> None:
    log(tmp_path / "a", "10,1.0,0.9,,", "20,2.0,0.8,0.5,0.7", "30,3.0,0.7,,", "40,4.0,0.6,,0.9")
    assert curve_of(tmp_path / "a") == pytest.approx({20: 0.6, 40: 0.9})


def test_a_curve_goes_on_where_the_run_that_it_began_with_ended(tmp_path: Path) -> None:
    log(tmp_path / "first", "10,1.0,0.9,0.2,0.4", "20,2.0,0.8,,")
    log(tmp_path / "then", "10,1.0,0.7,0.5,0.7", began_with="first")
    assert curve_of(tmp_path / "then") == pytest.approx({10: 0.3, 30: 0.6})


def test_the_mean_over_seeds_is_of_the_steps_that_all_have() -> None:
    assert mean_curve([{10: 0.2, 20: 0.4}, {20: 0.6, 30: 0.9}]) == pytest.approx({20: 0.5})
    assert mean_curve([]) == {}


def test_a_picture_is_drawn_for_a_comparison_whose_runs_were_validated_twice(tmp_path: Path) -> None:
    log(tmp_path / "r" / "a", "10,1.0,0.9,0.1,0.3", "20,2.0,0.8,0.5,0.7")
    log(tmp_path / "r" / "b", "20,2.0,0.8,0.5,0.7")
    asked = question(a=["r/a"], b=["r/b"])
    drawn = draw_all([asked, question(b=["r/b"]).model_copy(update={"title": "Nothing"})], tmp_path, tmp_path / "out")
    assert drawn == {asked.title: tmp_path / "out" / "slf1-against-nlf2-once.png"}
    assert drawn[asked.title].read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [picture_name(asked)]
