"""The reading processes as the dashboard sees them: two at most, kept warm, asked by one at a time, never for long."""

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rtseg_daemon.errors import NotShown
from rtseg_daemon.one_thread import with_one_thread

PROGRAM = (sys.executable, "-m", "rtseg_daemon.web.viewer.reader")
READY = "ready"
SECONDS = 90.0
"""For one series. 2,000 slices take some twenty seconds."""
START_SECONDS = 60.0
TURN_SECONDS = 10.0
"""So long one waits for a reader that reads for others."""
LONGEST_ANSWER = 2**22
PROCESSES = 2
BUSY = "other series are being read; try again in a few seconds"


class Reader:
    """One process. It is started when it is first asked, and again after it gave no answer."""

    def __init__(self, program: Sequence[str], seconds: float) -> None:
        self.program = program
        self.seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer. Raises NotShown where there is none, or it says that nothing can be shown."""
        try:
            process = self.start()
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._line(self.seconds))
        except (OSError, ValueError) as error:
            self.end()
            what = "took too long" if isinstance(error, TimeoutError) else "came to an end"
            raise NotShown(
                f"reading the files {what}; `rtseg-daemon doctor` says whether they are intact", 500
            ) from error
        if "refused" in answer:
            raise NotShown(str(answer["refused"]), int(answer.get("status", 500)))
        return answer

    def start(self) -> "subprocess.Popen[bytes]":
        """The process, ready to be asked. Raises OSError or ValueError."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.end()
        self._process = subprocess.Popen(
            self.program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=with_one_thread(os.environ),
        )
        started = self._process
        if not json.loads(self._line(START_SECONDS)).get(READY):
            raise ValueError("the reader did not start")
        return started

    def end(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        self._heard = b""
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _line(self, seconds: float) -> bytes:
        """The next line that the process says. Raises OSError where none comes in time, ValueError for a long one."""
        process = self._process
        if process is None or process.stdout is None:
            raise ConnectionError  # it was ended meanwhile, with the application
        until = time.monotonic() + seconds
        while b"\n" not in self._heard:
            if not select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                raise ConnectionError
            self._heard += piece
            if len(self._heard) > LONGEST_ANSWER:
                raise ValueError("no answer of the protocol")
        line, _, self._heard = self._heard.partition(b"\n")
        return line


class Readers:
    """The processes, and the queue in front of them."""

    def __init__(self, program: Sequence[str] = PROGRAM, seconds: float = SECONDS, turn: float = TURN_SECONDS) -> None:
        self.turn = turn
        self._all = [Reader(program, seconds) for _ in range(PROCESSES)]
        self._free = list(reversed(self._all))
        self._changed = threading.Condition()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask whichever is free. Raises NotShown, with status 503 where none is in time."""
        with self._taken() as reader:
            return reader.ask(request)

    def warm(self) -> None:
        """Start one, so that the first who looks need not wait for it. A start that fails is told to whoever asks."""
        with contextlib.suppress(NotShown), self._taken() as reader:
            try:
                reader.start()
            except (OSError, ValueError):
                reader.end()

    def close(self) -> None:
        """End them all."""
        for reader in self._all:
            reader.end()

    @contextlib.contextmanager
    def _taken(self) -> Iterator[Reader]:
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._free), self.turn):
                raise NotShown(BUSY, 503)
            reader = self._free.pop()
        try:
            yield reader
        finally:
            with self._changed:
                self._free.append(reader)
                self._changed.notify()
