"""A PACS is asked: how many images, and to send an old case again. dcmtk's dcmqrscp answers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from rtseg_daemon import cli
from rtseg_daemon.config.sections import QueryPeer
from rtseg_daemon.dicom import dimse
from rtseg_daemon.dicom.association import Local, Waits
from rtseg_daemon.dicom.datasets import encode
from rtseg_daemon.dicom.query import count_images, ct_series, question
from rtseg_daemon.dicom.wire import encode_fragment
from rtseg_daemon.errors import DeliveryError
from tests.peers import Archive, storescu
from tests.rude import Asked, Caller, Rude, answer
from tests.synthetic import uid
from tests.world import Daemon, Tps, free_port, patient, write_config

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def test_a_case_is_fetched_and_the_pacs_count_ends_the_wait_after_an_abort(tmp_path: Path) -> None:
    tps, port = Tps(), free_port()
    archive = Archive(tmp_path / "pacs", port)
    peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": archive.port}
    changes = {"dicom": {"port": port}, "query": [peer], "series": {"quiet_seconds": 2}}
    daemon = Daemon(write_config(tmp_path, tps.port, **changes), tmp_path / "daemon.log")
    first, second = patient(tmp_path / "a", seed=1), patient(tmp_path / "b", seed=2)
    with archive.running(), tps.running():
        storescu(archive.port, [*first, *second], called="PACS")
        daemon.start()
        try:
            found = daemon.ask("fetch", "--study", uid("study", 1))
            assert [(s["completed"], s["ok"]) for s in found] == [(20, True)]
            daemon.wait_for_state("DELIVERED", 60)
            storescu(daemon.port, second, options=["--abort"])
            daemon.wait_for_state("DELIVERED", 60, job=2)  # without the PACS it would wait for an hour
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


def pending(caller: Caller, asked: Asked, identifier: Dataset) -> None:
    """One answer of several."""
    caller.say(answer(asked, 0xFF00, DATA_SET_TYPE=dimse.short(0)))
    data = encode(identifier, ExplicitVRLittleEndian)
    caller.say(encode_fragment(asked.context, data, is_command=False, is_last=True))


def listed(caller: Caller, asked: Asked, *, surplus: bytes = b"") -> None:
    """Seven images, one pending answer each, then `surplus` and the end."""
    for number in range(7):
        pending(caller, asked, question("IMAGE", SOPInstanceUID=f"1.2.{number}"))
    caller.say(surplus + answer(asked))


def ask_rude(meet: Callable[[Caller, Asked], None]) -> int | None:
    with Rude(meet).running() as rude:
        peer = QueryPeer(name="pacs", ae_title="PACS", host="127.0.0.1", port=rude.port)
        return count_images(Local("RTSEG"), peer, "1.2", "1.3", Waits(answer=2.0))


def test_every_answer_is_counted_once_and_none_is_lost() -> None:
    """A PACS that does not count: its images are, one by one, as often as one asks."""
    assert [ask_rude(listed) for _ in range(5)] == [7] * 5


@pytest.mark.parametrize("element", ["RESPONDED_TO", "FIELD"])
def test_an_answer_that_is_not_to_our_question_is_never_an_image_fewer_or_more(element: str) -> None:
    def meet(caller: Caller, asked: Asked) -> None:
        listed(caller, asked, surplus=answer(asked, 0xFF00, **{element: dimse.short(0x8777)}))

    with pytest.raises(DeliveryError, match=r"was asked|is the answer"):
        ask_rude(meet)


def test_an_answer_that_cannot_be_read_is_an_error_and_no_image_fewer() -> None:
    def meet(caller: Caller, asked: Asked) -> None:
        caller.say(answer(asked, 0xFF00, DATA_SET_TYPE=dimse.short(0)))
        caller.say(encode_fragment(asked.context, b"\x08\0\x18\0UI\xff\xff1.2", is_command=False, is_last=True))
        caller.say(answer(asked))

    with pytest.raises(DeliveryError, match="cannot be read"):
        ask_rude(meet)


def fetched(
    folder: Path, port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *more: str
) -> tuple[int, str]:
    """Exit status and output of `fetch --study` from a PACS at `port`."""
    peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
    file = write_config(folder, 1, query=[peer])
    monkeypatch.setattr("sys.argv", ["rtseg-daemon", "fetch", "--study", "1.2.3", "--config", str(file), *more])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out + captured.err


def refusing_move(caller: Caller, asked: Asked) -> None:
    """One CT series, which it will not send."""
    if asked.command.field == dimse.C_FIND_RQ:
        found = question("SERIES", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", Modality="CT")
        pending(caller, asked, found)
        caller.say(answer(asked))
    else:
        caller.say(answer(asked, 0xA801, ERROR_COMMENT=b"who is RTSEG?"))


def test_fetch_gives_the_peers_reason_in_words_and_its_comment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Rude(meet=refusing_move).running() as rude:
        status, printed = fetched(tmp_path, rude.port, capsys, monkeypatch, "--json")
    (series,) = json.loads(printed)
    assert (status, series["ok"], series["status"]) == (1, False, "0xA801")
    assert series["reason"] == (
        "0xA801, refused: move destination unknown; it says: who is RTSEG?; "
        "enter RTSEG with this machine's address and port there, or use --get"
    )


def test_fetch_gives_the_reason_of_a_question_that_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(caller: Caller, asked: Asked) -> None:
        caller.say(answer(asked, 0xA900, ERROR_COMMENT=b"StudyInstanceUID?"))

    with Rude(meet=refuse).running() as rude:
        status, printed = fetched(tmp_path, rude.port, capsys, monkeypatch)
    assert status == 1
    assert "0xA900, the identifier does not match the SOP class; it says: StudyInstanceUID?" in printed


def test_fetch_says_that_the_archive_has_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Rude().running() as rude:
        status, printed = fetched(tmp_path, rude.port, capsys, monkeypatch)
    assert (status, "pacs has no CT series of this study" in printed) == (1, True)
