"""Mixup: training on mixtures of two records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..harness.checks import positive
from ._regularised import Regularised

if TYPE_CHECKING:
    from ._regularised_torch import Loop


@dataclass(frozen=True)
class Mixup(Regularised):
    """Mixup (Zhang et al. 2018, arXiv:1710.09412, section 2): each step mixes a batch with the same batch shuffled.

    A heuristic: the network rarely sees a record as it is. One share drawn from Beta(alpha, alpha) for each step mixes
    both records and losses, as in the authors' listing.

    Attributes:
        alpha: of the Beta distribution, greater than 0; small values rarely mix, 1 draws shares uniformly.
    """

    title: ClassVar[str] = "mixup"

    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive(alpha=self.alpha)

    def loop(self, recipe: Any, seed: int) -> Loop:
        """Return descent on mixtures."""
        from ._regularised_torch import mixup

        return mixup(self.alpha, recipe, seed)
