"""A candidate in the shadow of a running daemon: contoured after delivery, measured, compared, and sent to nobody."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rtseg_daemon.config.file import load_config
from rtseg_daemon.ledger import views
from rtseg_daemon.ledger.engine import open_ledger, reading
from tests.tiny import make_bundle
from tests.world import Daemon, Tps, patient, send, wait_for, write_config


@pytest.fixture
def tps() -> Iterator[Tps]:
    with Tps().running() as tps:
        yield tps


def shadow_states(daemon: Daemon) -> list[str]:
    """The states of the shadows' jobs, read without starting a process."""
    engine = open_ledger(load_config(daemon.config).database_url)
    with reading(engine) as session:
        found = [str(job.state) for job in views.all_jobs(session, shadow=True)]
    engine.dispose()
    return found


@pytest.mark.slow
def test_a_candidate_contours_what_was_delivered_and_is_compared_and_nothing_of_it_leaves(
    tmp_path: Path, tps: Tps
) -> None:
    route = {"name": "all", "match": {"modality": "CT"}, "bundle": "tiny", "destinations": ["tps"]}
    config = write_config(tmp_path, tps.port, routes=[route | {"shadow": "tiny@2.0"}])
    make_bundle(tmp_path / "models", version="2.0", members=1)
    daemon = Daemon(config, tmp_path / "log").start()
    try:
        send(daemon.port, patient(tmp_path / "ct"))
        daemon.wait_for_state("DELIVERED", 60)

        wait_for(lambda: shadow_states(daemon) == ["SEGMENTED"], 60, daemon.tail, pause=0.5)
        shape = daemon.ask("models", "compare", "tiny", "tiny@2.0")
        assert (shape["cases"], shape["measured"]) == (1, 1)
        assert all(organ["between"]["dsc"]["mean"] == 1.0 for organ in shape["organs"]), "the stub draws what it drew"
        assert len(shape["organs"]) == 3
        assert len(daemon.jobs()) == 1
        assert "feedback" in daemon.pids()
    finally:
        assert daemon.stop() == 0
    assert len(tps.structure_sets) == 1
