"""Dropout: hidden activations that are switched off at random while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..harness.checks import open_unit
from ..harness.types import TrainingData
from ._loops import loops_for
from ._regularised import Regularised


@dataclass(frozen=True)
class Dropout(Regularised):
    """Dropout (Srivastava et al. 2014, JMLR 15) after each activation layer of the network, inverted.

    A heuristic: no unit can rely on another to recognise a record. Each activation is 0 with probability `rate` and
    else divided by 1 - `rate`, so its mean stays; trained models answer with all units. Every number is dropped by
    itself, in convolutional layers too. Networks without an activation layer are refused before anything is trained.

    Activation layers of torch are modules such as `torch.nn.ReLU`. Those of Keras are layers with an `activation` that
    is neither linear nor softmax nor the network's answer, and layers such as `ReLU`. Functions called between layers
    and activations inside a recurrence are none.

    Attributes:
        rate: probability of dropping an activation, between 0 and 1.
    """

    title: ClassVar[str] = "dropout"
    frameworks: ClassVar[tuple[str, ...]] = ("torch", "keras")

    rate: float = 0.5

    def __post_init__(self) -> None:
        open_unit(rate=self.rate)

    def check(self, recipe: Any, few: TrainingData) -> None:
        """Look for an activation layer in the recipe's network.

        Raises:
            UsageError: there is none.
        """
        recipe.fit_by(loops_for(recipe).check_dropout, few, np.arange(len(few.y)), seed=0)

    def loop(self, recipe: Any, seed: int) -> Any:
        """Return plain descent with dropout."""
        return loops_for(recipe).dropout(self.rate, recipe, seed)
