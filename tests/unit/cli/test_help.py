"""Every command explains itself: what it does, and an example that it would take."""

import shlex
from collections.abc import Iterator
from typing import Any

import click
import pytest
from rtseg_training.cli.app import app as training
from typer.main import get_command

from rtseg_daemon import cli

Found = tuple[tuple[str, ...], Any]


def commands(command: Any, path: tuple[str, ...]) -> Iterator[Found]:
    """A command, or a group and everything below it, with the words that call it."""
    real = command.load() if isinstance(command, cli.LaterCommand) else command
    yield path, real
    for name, inner in getattr(real, "commands", {}).items():
        yield from commands(inner, (*path, name))


EVERY: list[Found] = [
    *commands(get_command(cli.app), ("rtseg-daemon",)),
    *commands(get_command(training), ("rtseg-train",)),
]


def named(found: Found) -> str:
    return " ".join(found[0])


def examples(help_text: str) -> list[list[str]]:
    """The words of each example, a line that begins by `Example:`, up to what a shell would do with the output."""
    lines = [line.strip() for line in help_text.splitlines()]
    return [shlex.split(line.removeprefix("Example:")) for line in lines if line.startswith("Example:")]


def test_the_walk_finds_the_commands_of_both_programs() -> None:
    found = {named(one) for one in EVERY}
    assert {"rtseg-daemon serve", "rtseg-daemon alarms ack", "rtseg-daemon config check", "rtseg-train train"} <= found
    assert len(found) > 35


@pytest.mark.parametrize("found", EVERY, ids=named)
def test_every_command_has_help_with_an_example_that_it_would_take(found: Found) -> None:
    path, command = found
    shown = examples(command.help or "")
    assert shown, f"{named(found)} --help has no example"
    for words in shown:
        assert tuple(words[: len(path)]) == path
        deepest, rest = command, words[len(path) :]
        while rest and rest[0] in getattr(deepest, "commands", {}):
            inner = deepest.commands[rest[0]]
            deepest, rest = (inner.load() if isinstance(inner, cli.LaterCommand) else inner), rest[1:]
        parsed = [word for word in rest if word.startswith("--")]
        known = {option for parameter in deepest.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(parsed) <= {*known, "--help"}, f"{named(found)} does not know an option of its example"
        assert not isinstance(deepest, click.Group), "an example names a command"
