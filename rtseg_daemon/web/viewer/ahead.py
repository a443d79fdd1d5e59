"""The newest cases are read before anyone asks: who looks at a case mostly looks at one that has just come."""

import sys
import threading
from contextlib import suppress

from sqlalchemy import Engine, or_, select
from sqlalchemy.exc import SQLAlchemyError

from rtseg_daemon.errors import NotShown
from rtseg_daemon.ledger.engine import reading
from rtseg_daemon.ledger.schema import Job, Series
from rtseg_daemon.ledger.states import JobState, SeriesState
from rtseg_daemon.web.viewer.desk import Desk
from rtseg_daemon.web.viewer.readers import Reader
from rtseg_daemon.web.viewer.subject import Subject, subject_of

NEWEST = 20
"""So many cases. 150 slices of 512 x 512 take 79 MB each of the shelf's room."""
LOOK_SECONDS = 2.0
SECONDS = 300.0
NICENESS = 15
PROGRAM = (
    sys.executable,
    "-c",
    f"import os, runpy; os.nice({NICENESS}); runpy.run_module('rtseg_daemon.web.viewer.reader', run_name='__main__')",
)
"""A reader that gives way to everything else on the machine."""


class Ahead:
    """Reads each new result or held case once, and ends its reader when nothing is new."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.reader = Reader(PROGRAM, SECONDS)
        self.done: dict[int, Subject | None] = {}
        """The newest jobs that were read. None where there is nothing to see."""
        self._end = threading.Event()

    def start(self) -> None:
        """Look from now on, in a thread of its own."""
        threading.Thread(target=self._run, name="viewer-newest", daemon=True).start()

    def close(self) -> None:
        """Stop. What is being read is given up."""
        self._end.set()
        self.reader.end()

    def _run(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            with suppress(SQLAlchemyError):  # pages say what is wrong with the ledger
                self.look()

    def look(self) -> None:
        """Read what is new, and keep the newest however long nobody has looked at them."""
        newest = newest_to_see(self.desk.engine)
        for job in newest:
            if job not in self.done and not self._end.is_set():
                self.done[job] = self.read(job)
        self.reader.end()
        self.done = {job: self.done[job] for job in newest if job in self.done}
        self.desk.keep(filter(None, self.done.values()))

    def read(self, job: int) -> Subject | None:
        """The job, which lies on the desk's shelf unless it cannot be shown. Whoever asks for it is told why."""
        with suppress(NotShown, OSError):
            subject = subject_of(self.desk.engine, self.desk.files, job)
            with suppress(NotShown, OSError):
                self.desk.read_ahead(subject, self.reader.ask)
            return subject
        return None


def newest_to_see(engine: Engine) -> list[int]:
    """The newest jobs with a structure set, or held, whose images are here. Newest first."""
    seen = or_(Job.rtstruct_path.is_not(None), Job.state == JobState.HELD)
    query = select(Job.id).join(Job.series).where(seen, ~Job.shadow, Series.state != SeriesState.REMOVED)
    with reading(engine) as session:
        return list(session.scalars(query.order_by(Job.id.desc()).limit(NEWEST)))
