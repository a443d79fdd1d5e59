"""`rtseg-daemon config check`: what a configuration says, and with --deep whether it works."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.test_commands import Desk
from tests.world import Tps, patient


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    desk = Desk(tmp_path, monkeypatch, capsys)
    yield desk
    desk.ledger.dispose()


def test_config_check_exits_2_and_names_the_key(desk: Desk, tmp_path: Path) -> None:
    assert desk.run("config", "check", str(desk.config), config=False)[0] == 0
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("jobs:\n  max_attempts: none\n")
    status, _, err = desk.run("config", "check", str(wrong), config=False)
    assert status == 2
    assert "line 2: jobs.max_attempts" in err


def test_config_check_looks_at_bundles_and_at_the_organs_that_destinations_name(desk: Desk) -> None:
    text = desk.config.read_text()
    desk.config.write_text(text.replace("ae_title: TPS", "ae_title: TPS\n  only: [Brainstemm]"))
    status, _, err = desk.run("config", "check", str(desk.config), config=False)
    assert (status, "did you mean Brainstem?" in err) == (0, True)
    desk.config.write_text(text.replace("bundle: tiny", "bundle: tinny"))
    status, _, err = desk.run("config", "check", str(desk.config), config=False)
    assert (status, "no bundle 'tinny'" in err) == (2, True)


def test_config_check_takes_the_file_like_every_other_command(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RTSEG_CONFIG", raising=False)
    assert desk.run("config", "check")[0] == 0
    assert desk.run("config", "check", config=False)[0] == 2
    monkeypatch.setenv("RTSEG_CONFIG", str(desk.config))
    status, out, _ = desk.run("config", "check", config=False)
    assert (status, f"{desk.config} is right" in out.replace("\n", "")) == (0, True)


def test_a_storage_directory_that_is_a_file_is_refused_by_name(desk: Desk, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    text = desk.config.read_text()
    for directory in (plain, plain / "storage"):
        desk.config.write_text(text.replace(str(desk.layout.directory), str(directory)))
        status, _, err = desk.run("config", "check")
        assert (status, err) == (
            2,
            f"storage.directory: {plain} is a file; name a folder, or one that can be made\n",
        )


def test_a_deep_check_writes_to_the_storage_and_asks_every_peer(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        gone = nobody.getsockname()[1]
    tps = Tps()
    text = desk.config.read_text().replace("port: 1\n", f"port: {tps.port}\n")
    desk.config.write_text(text + f"query: [{{name: pacs, ae_title: P, host: 127.0.0.1, port: {gone}}}]\n")
    with tps.running():
        status, printed, _ = desk.run("config", "check", "--deep", "--json")
    checks = {one["subject"]: one for one in json.loads(printed)["checks"]}
    assert status == 1
    assert {name: one["ok"] for name, one in checks.items()} == {
        "storage": True, "destination tps": True, "query pacs": False,
    }  # fmt: skip
    assert f"127.0.0.1:{gone}: the machine refuses connections" in checks["query pacs"]["message"]
    assert not list(desk.layout.directory.glob("*config-check*"))
    desk.config.write_text(text)
    with tps.running():
        assert desk.run("config", "check", "--deep")[0] == 0


def test_a_deep_check_names_a_storage_that_is_full_or_not_there(desk: Desk) -> None:
    text = desk.config.read_text()
    desk.config.write_text(text.replace("minimum_free_gb: 0", "minimum_free_gb: 1000000"))
    assert "below storage.minimum_free_gb" in desk.run("config", "check", "--deep")[1].replace("\n", " ")
    desk.config.write_text(text.replace(str(desk.layout.directory), str(desk.layout.directory / "none")))
    assert "does not exist" in desk.run("config", "check", "--deep")[1].replace("\n", " ")


def test_config_check_says_which_route_a_series_would_take(desk: Desk, tmp_path: Path) -> None:
    patient(tmp_path / "ct", slices=3)
    text = desk.config.read_text()
    ours = "- {name: ours, match: {calling_ae: PACS}, bundle: tiny}"
    knee = "- {name: knee, match: {body_part: knee}, bundle: tiny}"
    desk.config.write_text(text.replace("routes:", f"routes:\n{ours}\n{knee}"))
    status, out, _ = desk.run("config", "check", "--series", str(tmp_path / "ct"))
    told = " ".join(out.split())
    assert status == 0
    assert "route ours (tiny to nobody) if PACS sends it; else route all (tiny to tps)" in told
    desk.config.write_text(text.replace("modality: CT", "body_part: xyz"))
    status, out, _ = desk.run("config", "check", "--series", str(tmp_path / "ct"))
    assert (status, "no route takes it" in " ".join(out.split())) == (1, True)
