"""Networks on a card, recorded: their kernels are launched all at once."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch

Network = Callable[[torch.Tensor], torch.Tensor]

MOST_SHAPES = 8
"""Recordings that are kept: each holds some working memory of the card."""


class RecordedNetwork:
    """A network whose kernels are recorded as a CUDA graph when a shape of its input comes for the second time.

    A small network is over on a large card before the processor has launched its next kernel, and a replay is one
    launch. A shape that comes once is not worth the recording. The shape that was used longest ago is forgotten first.

    Args:
        pool: memory of all recordings of an engine, which run one after the other.
    """

    def __init__(self, net: Network, pool: Any) -> None:
        self.net = net
        self.pool = pool
        self.seen: OrderedDict[torch.Size, tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor] | None]
        self.seen = OrderedDict()

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        known, recording = image.shape in self.seen, self.seen.pop(image.shape, None)
        if known and recording is None:
            recording = self._record(image.clone())
        self.seen[image.shape] = recording
        if len(self.seen) > MOST_SHAPES:
            self.seen.popitem(last=False)
        if recording is None:
            return self.net(image)
        graph, read, written = recording
        read.copy_(image)
        graph.replay()
        return written.clone()  # the next replay writes to the same place

    def _record(self, image: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, torch.Tensor, torch.Tensor]:
        """The graph, and where it reads and writes. Libraries choose their kernels before the recording begins."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.net(image)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            written = self.net(image)
        return graph, image, written
