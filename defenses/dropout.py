"""Dropout: hidden activations that are switched off at random while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..harness.checks import open_unit
from ._regularised import Regularised

if TYPE_CHECKING:
    from ._regularised_torch import Loop


@dataclass(frozen=True)
class Dropout(Regularised):
    """Dropout (Srivastava et al. 2014, JMLR 15) after each activation layer of the network, inverted.

    A heuristic: no unit can rely on another to recognise a record. Each activation is 0 with probability `rate` and
    else divided by 1 - `rate`, so its mean stays; trained models answer with all units. Every number is dropped by
    itself, in convolutional layers too. Networks without an activation layer (a module of `torch.nn`, not a function)
    are refused when training starts.

    Attributes:
        rate: probability of dropping an activation, between 0 and 1.
    """

    title: ClassVar[str] = "dropout"

    rate: float = 0.5

    def __post_init__(self) -> None:
        open_unit(rate=self.rate)

    def loop(self, recipe: Any, seed: int) -> Loop:
        """Return plain descent with dropout."""
        from ._regularised_torch import dropout

        return dropout(self.rate, recipe, seed)
