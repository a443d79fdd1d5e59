"""Commands whose module is imported when they are called: `--help` and a mistyped command wait for none of them."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


class LaterCommand(TyperCommand):
    """Stands in the listing by its name and first line. The command itself comes from its module.

    Args:
        place: `module:attribute`. The attribute is the command's function, or the Typer application of a group.
    """

    def __init__(self, name: str, place: str, first_line: str) -> None:
        super().__init__(name, help=first_line)
        self.place = place

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command, so that it is the one that runs."""
        return self.load().make_context(info_name, args, parent, **extra)

    def load(self) -> Any:
        """Import the command."""
        module, _, attribute = self.place.partition(":")
        found, around = getattr(import_module(module), attribute), typer.Typer(add_completion=False)
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=self.name)
        else:
            around.command(self.name)(found)
        return get_group(around).commands[str(self.name)]


class LaterGroup(TyperGroup):
    """A group of such commands, in the order of `later`."""

    later: tuple[LaterCommand, ...] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for command in self.later:
            self.add_command(command)
