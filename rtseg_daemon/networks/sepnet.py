"""3D-SepNet: a U-Net of spatially separated convolutions (seed paper, Fig. 5).

An intra-slice 1x3x3 convolution sees one CT slice, an inter-slice 3x1x1 convolution sees its neighbours. Apart they
need a third of the parameters of a 3x3x3 U-Net of the same base width and suit voxels that are longer than wide.
"""

from torch import Tensor, nn

from rtseg_daemon.networks.unet import UNet, conv_norm_relu


class SeparatedBlock(nn.Module):
    """Three intra-slice and one inter-slice convolution with a 1x1x1 convolution around them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm_relu(inputs, outputs, (1, 3, 3)),
            conv_norm_relu(outputs, outputs, (1, 3, 3)),
            conv_norm_relu(outputs, outputs, (1, 3, 3)),
            conv_norm_relu(outputs, outputs, (3, 1, 1)),
        )
        self.shortcut = nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x) + self.shortcut(x)
        return out


class SepNet3D(UNet):
    """The paper's U-Net of separated convolutions. Its input is the CT after SLF. See `UNet` for shapes."""

    def __init__(self, classes: int, width: int = 48) -> None:
        super().__init__(SeparatedBlock, classes, width)
