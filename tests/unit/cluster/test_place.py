"""What a command fetched goes with it, also where the command was killed."""

import os
from pathlib import Path

from rtseg_daemon.cluster.place import COMMAND, drop_shelves_of_commands
from rtseg_daemon.storage import Layout


def test_shelves_of_commands_that_were_killed_are_dropped_at_the_next_start(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    kept = layout.shelves / f"{COMMAND}{os.getpid()}", layout.shelves / "worker-0"
    gone = layout.shelves / f"{COMMAND}4194999", layout.shelves / f"{COMMAND}x"
    for folder in (*kept, *gone):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x")
    drop_shelves_of_commands(layout)
    assert sorted(layout.shelves.iterdir()) == sorted(kept)
