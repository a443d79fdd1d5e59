"""Every command that takes a data set takes several."""

import pytest
import typer
from rtseg_training.cli.app import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("train", "--data"), ("train", "--validation"), ("refresh", "--data"), ("refresh", "--validation"),
        ("export", "--data"), ("export", "--validation"), ("calibrate", "--validation"), ("evaluate", "--data"),
        ("audit", "--data"), ("score", "--data"),
    ],
)  # fmt: skip
def test_the_last_set_of_several_does_not_win(command: str, option: str) -> None:
    (found,) = [param for param in COMMANDS[command].params if option in param.opts]
    assert found.multiple


def test_no_command_takes_a_data_set_once_alone() -> None:
    single = {
        (name, param.name)
        for name, command in COMMANDS.items()
        for param in command.params
        if param.name in ("data", "validation") and not param.multiple and param.nargs != -1
    }
    assert single == set()
