"""On which device a process trains, and what is said of one that is misspelt or not there."""

import re

import pytest
import torch
from rtseg_training.cli.app import app
from rtseg_training.learn.distributed import Place, chosen_device
from typer.testing import CliRunner


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.mark.parametrize(
    ("name", "world", "local", "device"),
    [
        ("auto", 1, 0, "cuda:0"),
        ("cuda", 1, 0, "cuda:0"),
        ("cuda:1", 1, 0, "cuda:1"),
        ("cpu", 1, 0, "cpu"),
        ("auto", 2, 1, "cuda:1"),
        ("cuda", 2, 1, "cuda:1"),
        ("cpu", 2, 1, "cpu"),
    ],
)
def test_a_process_gets_the_device_that_is_named(
    name: str, world: int, local: int, device: str, two_gpus: None
) -> None:
    assert chosen_device(name, world, local) == torch.device(device)


def test_auto_is_the_processor_where_there_is_no_gpu(no_gpu: None) -> None:
    assert chosen_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "mps", ""])
def test_an_unknown_device_is_refused(name: str, two_gpus: None) -> None:
    with pytest.raises(ValueError, match=r"is no device; write auto, cpu, cuda or cuda:N"):
        chosen_device(name)


def test_a_gpu_that_is_not_there_is_named(two_gpus: None) -> None:
    with pytest.raises(ValueError, match=r"there is no cuda:2, only 2 GPUs \(cuda:0 to cuda:1\)"):
        chosen_device("cuda:2")
    with pytest.raises(ValueError, match="torchrun gives each process its own GPU; write cuda"):
        chosen_device("cuda:1", world=2)


@pytest.mark.parametrize("command", [["train", "r.yaml"], ["refresh", "b", "--runs", "r", "--version", "2.0"]])
@pytest.mark.parametrize(("name", "words"), [("gpu", "is no device"), ("cuda", "finds no GPU")])
def test_a_wrong_device_is_a_usage_error(command: list[str], name: str, words: str, no_gpu: None) -> None:
    done = CliRunner().invoke(app, [*command, "--data", "d", "--validation", "v", "--out", "o", "--device", name])
    assert done.exit_code == 2
    assert words in re.sub(r"[\s│]+", " ", done.output)


def test_every_process_gets_the_mean_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    others = 0.75

    def sum_of_two(total: torch.Tensor) -> None:
        total += others

    monkeypatch.setattr(torch.distributed, "all_reduce", sum_of_two)
    assert Place(rank=0, world=2).mean(0.25) == 0.5
    assert Place().mean(0.25) == 0.25
