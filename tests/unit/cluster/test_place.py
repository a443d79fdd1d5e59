"""What a command fetched goes with it, also where that was killed. A host that is away is not one that is gone."""

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rtseg_daemon.cluster.place import COMMAND, address_of, drop_shelves_of_commands
from rtseg_daemon.errors import HostAway, HostGone
from rtseg_daemon.ledger import hosts
from rtseg_daemon.ledger.engine import writing
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


def test_a_host_that_is_out_of_the_ledger_is_gone_and_one_that_serves_no_files_is_away(ledger: Engine) -> None:
    with writing(ledger) as session:
        hosts.register(session, "north", storage="1", version="1", address="10.0.0.1:11443")
    assert address_of(ledger, "north") == "10.0.0.1:11443"
    with writing(ledger) as session:
        hosts.find(session, "north").address = ""
    with pytest.raises(HostAway, match="host north serves no files to others"):
        address_of(ledger, "north")
    with pytest.raises(HostGone, match="host south is out of the ledger, and its files with it; have the series sent"):
        address_of(ledger, "south")
