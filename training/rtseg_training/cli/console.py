"""Progress and notes on stderr. Stdout is left for results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

console = Console(stderr=True)


@contextmanager
def counted(title: str, total: int, shown: bool = True) -> Iterator[Callable[[str], None]]:
    """A progress bar as a function to call after each piece of work."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not shown) as bar:
        task = bar.add_task(title, total=total)
        yield lambda _name: bar.advance(task)
