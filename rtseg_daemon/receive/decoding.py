"""The decoding process as the receiver sees it: started at need, asked by one at a time, never waited for long.

That it cannot start, runs out of time or memory, or dies says nothing of the image.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from rtseg_daemon.errors import Undecided
from rtseg_daemon.one_thread import with_one_thread
from rtseg_daemon.receive.pixel_digest import FAILED, READY, REFUSED, SECONDS

PROGRAM = (sys.executable, "-m", "rtseg_daemon.receive.pixel_digest")


class Broken(Undecided):
    """The decoding process gave no answer to a file: too much time, too much memory, or it died."""


class Decoder:
    """One process, and the lock in front of it."""

    def __init__(self, program: Sequence[str] = PROGRAM, seconds: float = SECONDS) -> None:
        self.program = program
        self.seconds = seconds
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._heard = b""

    def digest(self, path: Path, until: float) -> str | None:
        """SHA-256 of the file's pixel values, or None where they contradict its header.

        Raises Undecided where there is no answer by `until` (monotonic seconds), Broken where the file may be why.
        """
        if not self._turn.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Undecided("other images are being compared")
        try:
            answer = self._ask(path, until)
        finally:
            self._turn.release()
        return None if answer == REFUSED else answer

    def close(self) -> None:
        """End the process. Whoever still waits for it gets Broken."""
        process = self._process
        if process is not None:
            process.kill()
        with self._turn:
            self._end()

    def _ask(self, path: Path, until: float) -> str:
        process = self._started(until)
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            process.stdin.flush()
            answer = self._line(min(until, time.monotonic() + self.seconds))
        except (OSError, Undecided) as error:
            self._end()
            raise Broken("the decoder gave no answer") from error
        if answer == FAILED:
            self._end()
            raise Broken("the decoder had too little memory")
        return answer

    def _started(self, until: float) -> "subprocess.Popen[bytes]":
        """The process, ready to be asked. A start that takes longer goes on, for whoever asks next."""
        if self._process is None or self._process.poll() is not None:
            self._end()
            try:
                self._process = subprocess.Popen(
                    self.program,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=with_one_thread(os.environ),
                )
            except OSError as error:
                raise Undecided("the decoder cannot be started") from error
        if not self._ready:
            if self._line(until) != READY:
                self._end()
                raise Undecided("the decoder did not start")
            self._ready = True
        return self._process

    def _line(self, until: float) -> str:
        """The next line that the process says. Raises Undecided where it does not come by `until`, or never will."""
        assert self._process is not None
        assert self._process.stdout is not None
        while b"\n" not in self._heard:
            if not select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                raise Undecided("the decoder is slow")
            piece = os.read(self._process.stdout.fileno(), 4096)
            if not piece:
                self._end()
                raise Undecided("the decoder ended")
            self._heard += piece
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode("ascii", "replace")

    def _end(self) -> None:
        process, self._process = self._process, None
        self._ready, self._heard = False, b""
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()
