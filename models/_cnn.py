"""The torch half of the convolutional recipe."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from ..harness.errors import UsageError
from ._torch import first_weights


class _Channels(nn.Module):
    """Pictures (n, h, w) become (n, 1, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1)


def cnn(shape: tuple[int, ...], channels: tuple[int, ...], n_classes: int, seed: int) -> nn.Sequential:
    """Blocks of convolution, ReLU and maximum, then a linear layer, initialised by torch's rule from `seed`.

    Raises:
        UsageError: `shape` is not (h, w) or (c, h, w), or halving it for each block leaves nothing.
    """
    blocks = len(channels)
    if len(shape) not in (2, 3) or min(shape[-2:]) >> blocks == 0:
        raise UsageError(
            f"records of shape {shape}: must be pictures (h, w) or (c, h, w) with sides of at least {1 << blocks} "
            f"for {blocks} blocks"
        )
    height, width = (side >> blocks for side in shape[-2:])
    first = 1 if len(shape) == 2 else shape[0]
    layers: list[nn.Module] = [_Channels()] if len(shape) == 2 else []
    with first_weights(seed):
        for before, after in pairwise((first, *channels)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(channels[-1] * height * width, n_classes)]
    return nn.Sequential(*layers)
