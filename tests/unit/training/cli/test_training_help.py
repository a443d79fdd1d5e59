"""Every command's help shows how it is called, with nothing that the reader must guess."""

import re

import pytest
import typer
from rtseg_training.cli.app import app
from typer.testing import CliRunner

COMMANDS = (
    "import",
    "split",
    "audit",
    "plan",
    "train",
    "refresh",
    "evaluate",
    "score",
    "calibrate",
    "export",
    "results",
    "template",
    "stress",
)


def shown(*words: str) -> str:
    """Help as one line, the frame of the options left out."""
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "110"})
    assert done.exit_code == 0
    return re.sub(r"[\s│]+", " ", done.output)


def test_the_list_names_every_command_and_the_order() -> None:
    text = shown()
    assert set(typer.main.get_command(app).commands) == set(COMMANDS)  # type: ignore[attr-defined]
    assert "`" not in text
    assert "import, split, audit, train, export, calibrate, evaluate" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_a_whole_call(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    (example,) = [part.removeprefix("Example: ") for part in paragraphs if part.startswith("Example: ")]
    assert example.startswith(f"rtseg-train {name} ")
    words = example.split()[2:]
    options = {word for word in words if word.startswith("--")}
    required = {param.opts[0] for param in command.params if param.required}
    assert options <= {option for param in command.params for option in param.opts}
    assert {option for option in required if option.startswith("--")} <= options
    assert not any(re.fullmatch(r"[A-Z]+", word) for word in words)
    assert example in shown(name)
    assert "`" not in shown(name)


def test_what_a_reader_must_know_is_said() -> None:
    assert "90s, 9m or 2h" in shown("train")
    assert "in place" in shown("calibrate")
