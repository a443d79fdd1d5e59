"""Images that a destination takes uncompressed alone: decoded by a process beside the deliverer, one by one."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtseg_daemon.errors import NotDecompressed

PROGRAM = (sys.executable, "-m", "rtseg_daemon.ct.uncompressed")
SECONDS = 20.0
"""For one image, the start of the process included."""
LARGEST_BYTES = 512 * 2**20
LARGEST_HEAD = 4096
PIECE_BYTES = 2**20


class Decompressor:
    """The process. It is started when it is first asked, and again when it gave no answer."""

    def __init__(self, program: Sequence[str] = PROGRAM, seconds: float = SECONDS) -> None:
        self.program = program
        self.seconds = seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.given_up: dict[Path, str] = {}
        """Files that cost it its life or too much time. They are not tried again, or no attempt would ever end."""

    def uncompressed(self, path: Path, syntax: str) -> bytes:
        """The encoded data set of an image file in an uncompressed syntax. Raises NotDecompressed."""
        if path in self.given_up:
            raise NotDecompressed(self.given_up[path])
        until = time.monotonic() + self.seconds
        try:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(json.dumps({"path": str(path), "syntax": syntax}).encode() + b"\n")
            process.stdin.flush()
            return self._answer(until)
        except (OSError, ValueError) as error:
            self.close()
            self.given_up[path] = "the process that decompresses images gave no answer"
            raise NotDecompressed(self.given_up[path]) from error

    def close(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if pipe is not None:
                        pipe.close()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self.process is None:
            self.process = subprocess.Popen(
                self.program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        return self.process

    def _answer(self, until: float) -> bytes:
        """What the process says to the image it was asked for. Raises OSError or ValueError for anything else."""
        head = bytearray()
        while not head.endswith(b"\n"):
            head += self._read(1, until)
            if len(head) > LARGEST_HEAD:
                raise ValueError("no answer of the protocol")
        said: dict[str, Any] = json.loads(head)
        if "refused" in said:
            raise NotDecompressed(str(said["refused"]))
        left = int(said["length"])
        if not 0 < left <= LARGEST_BYTES:
            raise ValueError("a length that cannot be")
        data = bytearray()
        while len(data) < left:
            data += self._read(min(PIECE_BYTES, left - len(data)), until)
        return bytes(data)

    def _read(self, count: int, until: float) -> bytes:
        """Some bytes, `count` at most. Raises OSError where none come in time."""
        assert self.process is not None
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
            raise TimeoutError
        piece = os.read(descriptor, count)
        if not piece:
            raise ConnectionError
        return piece
