"""One process per device, started by torchrun; a single process is a world of one."""

import os
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

    def wait(self) -> None:
        """Wait until every process is here (the others wait while the first validates)."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined(device: str = "auto") -> Iterator[Place]:
    """This process's place, from the variables that torchrun sets; leaves the group at the end."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    cuda = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = torch.device(f"cuda:{local}" if world > 1 else "cuda:0") if cuda else torch.device("cpu")
    if world == 1:
        yield Place(device=chosen)
        return
    if cuda:
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Place(rank, world, chosen)
    finally:
        distributed.destroy_process_group()
