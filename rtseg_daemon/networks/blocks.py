"""What AnatomyNet and FocusNet share: a convolution with its norm, and the squeeze-and-excitation residual block."""

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg_daemon.networks.quick import VolumeNorm

SLOPE = 0.01

Triple = tuple[int, int, int]


def conv_norm_leaky(inputs: int, outputs: int, kernel: int, dilation: Triple = (1, 1, 1)) -> nn.Sequential:
    """Convolution that keeps the shape, instance norm, leaky ReLU."""
    padding = (dilation[0] * (kernel // 2), dilation[1] * (kernel // 2), dilation[2] * (kernel // 2))
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        VolumeNorm(outputs, affine=True),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


class Excite(nn.Module):
    """Channel weights `s = sigmoid(W2 relu(W1 z))` of channel means `z` `(batch, channels)`, to multiply a map."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.weights = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, means: Tensor) -> Tensor:
        s: Tensor = self.weights(means)
        return s[:, :, None, None, None]


class SEResidual(nn.Module):
    """`Y = G(s * F(X) + X)` (AnatomyNet, eq. 2): two 3x3x3 convolutions, G leaky ReLU.

    Neither AnatomyNet's nor FocusNet's paper names a norm. Their batches are of one volume, where batch norm would
    normalise with each volume's own statistics in training and with others in use. Instance norm is the same in both.
    The mean over an instance-normed map is that norm's bias whatever the image shows, so `s` is computed from the map
    before the last norm: after it the squeeze would carry nothing.

    Args:
        inputs, outputs: channels. Where they differ a 1x1x1 convolution brings X to `outputs`.
        stride: 2 halves each side (rounded up) in the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            VolumeNorm(outputs, affine=True),
            nn.LeakyReLU(SLOPE, inplace=True),
        )
        self.second = nn.Conv3d(outputs, outputs, 3, padding=1, bias=False)
        self.norm = VolumeNorm(outputs, affine=True)
        self.excite = Excite(outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv3d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.second(self.first(x))
        scale = self.excite(residual.mean((2, 3, 4)))
        return F.leaky_relu(scale * self.norm(residual) + self.shortcut(x), SLOPE)
