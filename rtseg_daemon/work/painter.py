"""The page to review a case by, drawn beside the worker's next job. It may fail, and then an event says why."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal

from rtseg_daemon.work.case import CaseResult


class Painter:
    """One thread that draws one page at a time. A second one waits for the first, so that results do not pile up."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="painter")
        self._last: Future[None] | None = None

    def paint(
        self,
        result: CaseResult,
        path: Path,
        rejected: Literal["omit", "send"],
        failed: Callable[[Exception], None],
    ) -> None:
        """Begin the page of a segmented case. `failed` is called from the painter's thread if it cannot be made."""
        self.finish()
        self._last = self._pool.submit(draw, result, path, rejected, failed)

    def finish(self) -> None:
        """Wait until what was begun is drawn."""
        if self._last is not None:
            wait([self._last])


def draw(
    result: CaseResult, path: Path, rejected: Literal["omit", "send"], failed: Callable[[Exception], None]
) -> None:
    """Draw the page to `path`, where its folder is still there."""
    try:
        # matplotlib is loaded with the first page: a worker starts without it
        from rtseg_daemon.work.picture import save_picture

        if path.parent.is_dir():
            save_picture(result, path, rejected=rejected)
    except Exception as error:  # noqa: BLE001 - a page is never worth more than the contours that it shows
        failed(error)
