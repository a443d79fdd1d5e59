"""One process per device, started by torchrun. A single process is a world of one."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Place:
    """Which of `world` processes this is, and the device it trains on."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)

    @property
    def first(self) -> bool:
        """Whether this process logs, validates and saves."""
        return self.rank == 0

    def shared(self, net: nn.Module) -> nn.Module:
        """`net` with its gradients averaged over all processes."""
        if self.world == 1:
            return net
        devices = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(net, device_ids=devices)

    def agreed(self, stop: bool) -> bool:
        """Whether any process wants to stop: all must leave the loop at the same step."""
        if self.world == 1:
            return stop
        flag = torch.tensor([int(stop)], device=self.device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag.item())

    def mean(self, value: float) -> float:
        """The mean over all processes: each sees its own part of a batch. All of them must ask."""
        if self.world == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64 if self.device.type == "cpu" else torch.float32)
        total = total.to(self.device)
        distributed.all_reduce(total)
        return float(total.item()) / self.world

    def wait(self) -> None:
        """Wait until every process is here (the others wait while the first validates)."""
        if self.world > 1:
            distributed.barrier()


def chosen_device(name: str, world: int = 1, local: int = 0) -> torch.device:
    """The device that process `local` of this machine trains on, of `world` processes in all.

    Args:
        name: `auto` (a GPU where there is one), `cpu`, `cuda` (a GPU for each process), or `cuda:N` for one process.

    Raises ValueError for another name, and for a GPU that is not there.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(f"{name!r} is no device; write auto, cpu, cuda or cuda:N (its number from 0)")
    if ":" in name and world > 1:
        raise ValueError(f"{name} is one GPU; torchrun gives each process its own GPU; write cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(name.partition(":")[2] or local)
    if not count:
        raise ValueError(f"{name}: torch finds no GPU on this machine; write cpu, or look at the driver")
    if number >= count:
        raise ValueError(f"there is no cuda:{number}, only {count} GPUs (cuda:0 to cuda:{count - 1})")
    return torch.device(f"cuda:{number}")


def here(name: str) -> torch.device:
    """This process's device, from the variables that torchrun sets. Raises ValueError as `chosen_device` does."""
    return chosen_device(name, int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def process_group(device: torch.device) -> Iterator[Place]:
    """This process's place on `device`, from the variables that torchrun sets. Leaves the group at the end."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    if world == 1:
        yield Place(device=device)
        return
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Place(rank, world, device)
    finally:
        distributed.destroy_process_group()
