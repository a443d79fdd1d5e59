"""How a network learns on a card: in its form for it, if it has one, with all its kernels recorded."""

import torch
from torch import Tensor, nn

from rtseg_daemon.segment.engines.forms import recorded_for_training, trainable_form


class OnCard(nn.Module):
    """A network in its form for a card. Its parameters stay those of the network that it was made of.

    The form is recorded at the first image, and every image has the shape of the first one: a recipe's patch.

    Args:
        form: the form, on its device.
        bf16: whether convolutions run in bf16. They run in float32 otherwise.
        alone: whether no other process learns with this one. Their exchange of gradients cannot be recorded.
    """

    def __init__(self, form: nn.Module, bf16: bool, alone: bool) -> None:
        super().__init__()
        self.form = form
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        self.to_record = alone

    def forward(self, image: Tensor) -> Tensor:
        # the form chooses every type itself, and what autocast keeps would be freed behind a recording's back
        with torch.autocast(image.device.type, enabled=False):
            image = image.to(self.dtype)
            if self.to_record:
                self.form, self.to_record = recorded_for_training(self.form, image), False
            logits: Tensor = self.form(image)
        return logits


def learner(net: nn.Module, device: torch.device, bf16: bool, alone: bool) -> nn.Module:
    """What learns in place of `net` on `device`: `net` itself, or on a card its form, if its family has one."""
    if device.type != "cuda":
        return net
    torch.backends.cudnn.benchmark = True  # every patch has one shape: cuDNN tries its kernels once
    form = trainable_form(net)
    return net if form is None else OnCard(form, bf16, alone)
