"""Logs name series and jobs, never a patient."""

import io
import json
import logging

import pytest

from rtseg_daemon.config.sections import Logging
from rtseg_daemon.logs import configure, describe, log, short


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_every_line_is_json_on_stderr_with_its_process(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Logging(), "worker-0")
    log().info("job started", job=3)
    logging.getLogger("somebody").warning("a library speaks")
    first, second = lines(capsys)
    assert (first["event"], first["job"], first["process"]) == ("job started", 3, "worker-0")
    assert (second["event"], second["level"]) == ("a library speaks", "warning")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_text_has_colours_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, coloured in ((io.StringIO(), False), (Screen(), True)):
        monkeypatch.setattr("sys.stderr", stream)
        configure(Logging(format="text"), "worker-0")
        log().warning("the disk is nearly full", free=3)
        logging.getLogger("somebody").warning("a library speaks")
        assert ("\x1b" in stream.getvalue()) is coloured
        assert "the disk is nearly full" in stream.getvalue()


def test_patient_data_is_dropped_and_tracebacks_lose_their_messages(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Logging(), "worker-0")
    try:
        raise ValueError("CANARY^NAME")
    except ValueError as error:
        log().error("a job broke", patient_id="CANARY", exc_info=error)
        logging.getLogger("somebody").exception("it broke")
    text = capsys.readouterr().err
    assert "CANARY" not in text
    assert text.count("ValueError at") == 2


def test_the_level_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure(Logging(level="ERROR"), "x")
    log().info("no")
    log().error("yes")
    assert [line["event"] for line in lines(capsys)] == ["yes"]


def test_an_exception_is_told_with_its_cause() -> None:
    try:
        try:
            raise KeyError("secret")
        except KeyError as cause:
            raise RuntimeError("secret") from cause
    except RuntimeError as error:
        told = describe(error)
    assert told.startswith("RuntimeError at tests.unit.test_logs:") or "RuntimeError at" in told
    assert "from KeyError" in told
    assert "secret" not in told


def test_uids_are_shortened_to_a_digest() -> None:
    assert short("1.2.3") == short("1.2.3") != short("1.2.4")
    assert len(short("1.2.3")) == 8
