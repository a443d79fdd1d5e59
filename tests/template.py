"""Children forked off one process that has imported everything: a start costs milliseconds instead of a second.

For fault runs that start thousands of processes. What runs in a child, and what a kill meets, is the daemon's own code
in a process of its own, with its pipe from the supervisor and the storage lock; only the way into `main` differs.

`python -m tests.template SOCKET` waits for requests; `Template` starts it; `Forked` stands in for subprocess.Popen.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MODULES = ("rtseg_daemon.daemon.receiver", "rtseg_daemon.daemon.deliverer", "tests.stub")


class Forked:
    """As much of subprocess.Popen as the supervisor and the tests use; `log` in place of our own output."""

    def __init__(
        self,
        command: Sequence[str],
        stdin: int,
        pass_fds: Sequence[int] = (),
        *,
        env: Mapping[str, str] | None = None,
        place: str | None = None,
        log: int | None = None,
    ) -> None:
        assert command[1] == "-m"
        self.returncode: int | None = None
        if stdin == subprocess.PIPE:
            end, writing_end = os.pipe()
            self.stdin = os.fdopen(writing_end, "wb")
        else:
            end = os.dup(stdin)
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(place or os.environ["STUB_TEMPLATE"])
        out, err = (sys.stdout.fileno(), sys.stderr.fileno()) if log is None else (log, log)
        fds = [end, out, err, *pass_fds]
        socket.send_fds(self.connection, [json.dumps(list(command[2:])).encode()], fds)
        os.close(end)
        self.pid = int(self.connection.recv(64))

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self.connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and timeout is not None and not select.select([self.connection], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("a forked process", timeout)
        if self.returncode is None:
            self.returncode = int(self.connection.recv(64) or -signal.SIGKILL)
            self.connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is not None:
            return  # its number may be another process's by now
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


@contextmanager
def template(
    path: Path, environment: dict[str, str], within: Sequence[str] = (), also: Sequence[str] = ()
) -> Iterator[Path]:
    """A template process that listens at `path`, which is given; its children have `environment`.

    `within` are words before its command, such as `ip netns exec NAME`; `also` are further modules that it imports.
    """
    command = [*within, sys.executable, "-m", "tests.template", str(path), *also]
    variables = os.environ | environment | {"STUB_TEMPLATE": str(path)}
    process = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE)
    try:
        while not path.exists():
            assert process.poll() is None, "the template ended"
            time.sleep(0.1)
        yield path
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def serve(path: Path, also: Sequence[str] = ()) -> None:
    """Fork a child for every request, and tell its exit status when it has ended."""
    for module in (*MODULES, *also):
        importlib.import_module(module)
    reading_end, writing_end = os.pipe()
    os.set_blocking(writing_end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing_end)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    children: dict[int, socket.socket] = {}
    while True:
        ready = select.select([listener, reading_end], [], [])[0]
        if reading_end in ready:
            os.read(reading_end, 4096)
            bury(children)
        if listener in ready:
            connection = listener.accept()[0]
            request, fds, _, _ = socket.recv_fds(connection, 65536, 8)
            if request:
                children[fork(json.loads(request), fds, [listener, connection, *children.values()])] = connection
            for fd in fds:
                os.close(fd)


def bury(children: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            connection = children.pop(ended[0])
            with contextlib.suppress(OSError):
                connection.send(str(os.waitstatus_to_exitcode(ended[1])).encode())
            connection.close()


def fork(command: Sequence[str], fds: Sequence[int], ours: Sequence[socket.socket]) -> int:
    """Start a child on these standard streams; it tells its process id itself. Returns that."""
    pid = os.fork()
    if pid:
        return pid
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
        os.close(fd)
    ours[1].send(str(os.getpid()).encode())
    for connection in ours:
        connection.close()
    os._exit(run(command[0], command[1:]))


def run(module: str, arguments: Sequence[str]) -> int:
    """What `python -m module arguments` does."""
    main: Any = importlib.import_module(module).main
    try:
        return int(main(list(arguments)) or 0)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception:  # noqa: BLE001 - told as the interpreter would
        sys.excepthook(*sys.exc_info())
        return 1


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2:])
