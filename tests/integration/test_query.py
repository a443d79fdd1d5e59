"""A PACS is asked: how many images, and to send an old case again. dcmtk's dcmqrscp answers."""

import json
from pathlib import Path
from typing import Any

import pytest
from pynetdicom.dimse import DIMSEServiceProvider

from rtseg_daemon.config.sections import QueryPeer
from rtseg_daemon.dicom.association import Local
from rtseg_daemon.dicom.query import count_images, ct_series
from rtseg_daemon.errors import DeliveryError
from tests.peers import Archive, storescu
from tests.synthetic import uid
from tests.world import Daemon, Tps, free_port, patient, write_config

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def test_a_case_is_fetched_and_the_pacs_count_ends_the_wait_at_once(tmp_path: Path) -> None:
    tps, port = Tps(), free_port()
    archive = Archive(tmp_path / "pacs", port)
    peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": archive.port}
    changes = {"dicom": {"port": port}, "query": [peer], "series": {"quiet_seconds": 600}}
    daemon = Daemon(write_config(tmp_path, tps.port, **changes), tmp_path / "daemon.log")
    first, second = patient(tmp_path / "a", seed=1), patient(tmp_path / "b", seed=2)
    with archive.running(), tps.running():
        storescu(archive.port, [*first, *second], called="PACS")
        daemon.start()
        try:
            found = daemon.ask("fetch", "--study", uid("study", 1))
            assert [(s["completed"], s["ok"]) for s in found] == [(20, True)]
            daemon.wait_for_state("DELIVERED", 60)  # silence alone would take ten minutes
            by_get = daemon.ask("fetch", "--patient", "PHANTOM1", "--get")
            assert sorted(s["completed"] for s in by_get) == [20, 20]
            assert len(daemon.ask("series", "list")) == 2
            nothing = daemon.command("fetch", "--patient", "PHANTOM*", "--json")
            assert (nothing.returncode, json.loads(nothing.stdout)) == (1, [])
        finally:
            daemon.stop()


def test_what_the_pacs_says_is_counted_and_silence_is_an_error(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "pacs", free_port())
    peer = QueryPeer(name="pacs", ae_title="PACS", host="127.0.0.1", port=archive.port)
    files = patient(tmp_path / "a", seed=1)
    local = Local("RTSEG")
    with archive.running():
        storescu(archive.port, files[:7], called="PACS")
        assert count_images(local, peer, uid("study", 1), uid("series", 1)) == 7
        assert count_images(local, peer, uid("study", 1), uid("series", 9)) is None
        assert ct_series(local, peer, study_uid=uid("study", 9)) == []
        (series,) = ct_series(local, peer, patient_id="PHANTOM1")
        assert series.series_uid == uid("series", 1)
    with pytest.raises(DeliveryError, match=r"pacs at 127\.0\.0\.1"):
        count_images(local, peer, uid("study", 1), uid("series", 1))


@pytest.mark.parametrize("thefts", [1, 3, 99])
def test_an_answer_that_the_library_loses_is_never_an_image_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thefts: int
) -> None:
    """pynetdicom's own thread takes a response off the queue now and then; here it is made to."""
    archive = Archive(tmp_path / "pacs", free_port())
    peer = QueryPeer(name="pacs", ae_title="PACS", host="127.0.0.1", port=archive.port)
    files = patient(tmp_path / "a", seed=1)
    taken: list[Any] = []
    take = DIMSEServiceProvider.get_msg

    def after_the_thief(self: DIMSEServiceProvider, block: bool = False) -> Any:
        message = take(self, block)
        if getattr(message[1], "Status", None) == 0xFF00 and len(taken) < thefts:
            taken.append(message)
            return take(self, block)
        return message

    with archive.running():
        storescu(archive.port, files[:7], called="PACS")
        monkeypatch.setattr(DIMSEServiceProvider, "get_msg", after_the_thief)
        if thefts < 99:
            assert count_images(Local("RTSEG"), peer, uid("study", 1), uid("series", 1)) == 7
            assert len(taken) == thefts
        else:
            with pytest.raises(DeliveryError, match="lost on this side 5 times in turn"):
                count_images(Local("RTSEG"), peer, uid("study", 1), uid("series", 1))
