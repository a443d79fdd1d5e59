"""Layers that a processor which trains does in another way: the same sums in less time.

Inference keeps torch's own forms, which engines know.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class AlongZ(nn.Conv3d):
    """A convolution of 3 x 1 x 1, in two dimensions: its rows are the slices and its columns all pixels of one."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        n, channels, z, y, columns = x.shape
        flat = functional.conv2d(x.reshape(n, channels, z, y * columns), self.weight.squeeze(-1), padding=(1, 0))
        return flat.reshape(n, -1, z, y, columns)


class VolumeNorm(nn.InstanceNorm3d):
    """Instance norm, of a single volume in bf16 as batch norm, which is the same there and keeps the layout in memory.

    Its sums over voxels are coarser than those of instance norm: nothing beside the rounding of bf16, but of float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu" or len(x) > 1 or x.dtype != torch.bfloat16:
            return super().forward(x)
        return functional.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
