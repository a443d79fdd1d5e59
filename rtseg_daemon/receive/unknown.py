"""What lies in the storage and is unknown to the ledger, by names alone.

A ledger that is older than the storage does not know what came since: a backup was restored, by whatever means. Every
acknowledged image is a file, so its name is all that has to be compared, and this can be done at each start. An
ordinary crash may leave a file too, of an image that was never acknowledged.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, select

from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.feedback_tables import ReturnedSet
from rtseg_daemon.ledger.schema import Instance, Job
from rtseg_daemon.ledger.states import InstanceState
from rtseg_daemon.storage import Layout

NAME = re.compile(r"[0-9a-f]{64}\.dcm")


def unknown_files(engine: Engine, layout: Layout) -> list[Path]:
    """Files of received objects that no row of the ledger names as kept, in the order in which they were written."""
    found = {
        layout.relative(path): path for folder in (layout.series, layout.quarantine) for path in objects_in(folder)
    }
    with reading(engine) as session:
        for state in (InstanceState.KEPT, InstanceState.QUARANTINED):
            if found:
                for path in session.scalars(select(Instance.path).where(Instance.state == state)):
                    found.pop(path, None)
    return sorted(found.values(), key=lambda path: (layout.quarantine in path.parents, path.stat().st_mtime, path.name))


def unknown_returned(engine: Engine, layout: Layout) -> list[Path]:
    """Files of structure sets that came back and that no row of the ledger names, in the order they were written."""
    found = {layout.relative(path): path for path in objects_in(layout.returned)}
    with reading(engine) as session:
        for path in session.scalars(select(ReturnedSet.path)) if found else ():
            found.pop(path, None)
    return sorted(found.values(), key=lambda path: (path.stat().st_mtime, path.name))


def unknown_results(engine: Engine, layout: Layout) -> list[Path]:
    """Folders of results of jobs that the ledger never had: new jobs will have their numbers."""
    with reading(engine) as session:
        known = {str(number) for number in session.scalars(select(Job.id))}
    return [folder for folder in layout.results.iterdir() if folder.name.isdigit() and folder.name not in known]


def objects_in(folder: Path) -> Iterator[Path]:
    """Files that are named as `store` names them, in folders of days."""
    for day in folder.iterdir():
        if day.is_dir():
            yield from (path for path in day.iterdir() if NAME.fullmatch(path.name))
