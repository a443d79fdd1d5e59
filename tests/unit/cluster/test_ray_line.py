"""The line to the process that talks to Ray: its environment, and what is said where Ray says nothing."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from rtseg_daemon.cluster import ray_line
from rtseg_daemon.cluster.ray_line import RayLine, connected, described, environment_for, require_port
from rtseg_daemon.config.sections import Compute
from rtseg_daemon.errors import ClusterError
from tests.world import ROOT, free_port

RAY = Compute(cluster="ray://head:10001", cluster_token=Path("/etc/rtseg/ray-token"))


def test_ray_tells_its_makers_nothing_and_takes_the_token_of_the_configuration() -> None:
    found = environment_for(RAY, {"PATH": "/bin", "RAY_AUTH_TOKEN": "another", "RAY_USAGE_STATS_ENABLED": "1"})
    assert found == {
        "PATH": "/bin",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": "/etc/rtseg/ray-token",
    }


def test_without_a_token_in_the_configuration_the_environment_decides() -> None:
    bare = Compute(cluster="ray://head:10001")
    assert environment_for(bare, {"RAY_AUTH_TOKEN": "x"}) == {"RAY_AUTH_TOKEN": "x", "RAY_USAGE_STATS_ENABLED": "0"}


def test_where_ray_is_not_installed_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(ray_line.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ClusterError, match=r"Ray is not installed; `pip install 'rtseg-daemon\[cluster\]'`"):
        connected(RAY, "module:Card")


PLAYED = """
import time
input(); print('{"head": 1}', flush=True)
input(); print('{"error": "no"}', flush=True)
input(); time.sleep(0.3)
input()
"""


def line_to(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RayLine:
    """A line to a process that does as `text` says."""
    (tmp_path / "played.py").write_text(text)
    monkeypatch.setattr(ray_line, "MODULE", "played")
    return RayLine("module:Card", {"PYTHONPATH": f"{tmp_path}:{ROOT}"})


def test_an_answer_an_error_a_silence_and_an_end_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_to(PLAYED, tmp_path, monkeypatch)
    try:
        assert line.ask("connect", 20.0, address="x") == {"head": 1}
        with pytest.raises(ClusterError, match=r"^no$"):
            line.ask("look", 20.0)
        with pytest.raises(ClusterError, match=r"Ray did not answer within 0 s"):
            line.ask("look", 0.1)
        with pytest.raises(ClusterError, match=r"the process that talks to Ray ended"):
            line.ask("look", 20.0)
    finally:
        line.close()
    assert line.process.poll() is not None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"nodes": [{"name": "gpu1", "cards": 2}, {"name": "gpu2", "cards": 1}], "open": False}, None),
        ({"nodes": [], "open": False}, "no node of the Ray at head:6379 has a card; start nodes with GPUs, or with"),
        ({"nodes": [{"name": "gpu1", "cards": 2}], "open": True}, "the Ray head at head:6379 asks for no token, and"),
    ],
)
def test_a_person_hears_of_the_cards_or_what_is_wrong(
    found: dict[str, Any], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Played:
        head = {"head": "head:6379", "ray": "2.60.0"}

        def ask(self, do: str) -> dict[str, Any]:
            return {"nodes": found}[do]

        def close(self) -> None: ...

    monkeypatch.setattr(ray_line, "connected", lambda compute, card: Played())
    if said is None:
        assert described(RAY) == "Ray 2.60.0 at head:6379 answers; cards: 2 on gpu1, 1 on gpu2"
    else:
        with pytest.raises(ClusterError, match=said):
            described(RAY)


def test_a_port_where_nobody_listens_is_told_without_ray() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(ClusterError, match=f"no Ray head answers at ray://{address}; is it up"):
        require_port(f"ray://{address}")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        require_port(f"127.0.0.1:{listener.getsockname()[1]}")
    require_port("auto")
