"""Mixup: training on mixtures of two records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..harness.checks import positive
from ._loops import loops_for
from ._regularised import Regularised


@dataclass(frozen=True)
class Mixup(Regularised):
    """Mixup (Zhang et al. 2018, arXiv:1710.09412, section 2): each step mixes a batch with the same batch shuffled.

    A heuristic: the network rarely sees a record as it is. One share drawn from Beta(alpha, alpha) for each step mixes
    both records and losses, as in the authors' listing. Mixed squared errors of a regressor have the gradient of
    mixed targets. A Keras model's own loss is the one that is mixed.

    Attributes:
        alpha: of the Beta distribution, greater than 0; small values rarely mix, 1 draws shares uniformly.
    """

    title: ClassVar[str] = "mixup"
    frameworks: ClassVar[tuple[str, ...]] = ("torch", "keras")

    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive(alpha=self.alpha)

    def loop(self, recipe: Any, seed: int) -> Any:
        """Return descent on mixtures."""
        return loops_for(recipe).mixup(self.alpha, recipe, seed)
