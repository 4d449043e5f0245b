"""Label smoothing: labels that are not quite certain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..harness.checks import require
from ._loops import loops_for
from ._regularised import Regularised


@dataclass(frozen=True)
class LabelSmoothing(Regularised):
    """Cross-entropy with (1 - smoothing) x the label + smoothing / classes on every class.

    Szegedy et al. 2016 (arXiv:1512.00567, section 7). A heuristic against membership inference that has a price:
    positive smoothing raises the leakage of model inversion, negative smoothing lowers it (Struppek et al. 2024,
    arXiv:2310.06549). A Keras model's own loss is replaced, its penalties stay.

    With negative smoothing the loss has no lower bound: logits grow as long as training goes on, and training from the
    start with it is unstable. So the first half of the epochs is plain, the smoothing then grows linearly over a
    quarter, and the last quarter has all of it; Struppek et al. go about it alike.

    Attributes:
        smoothing: from -1 to 1, 1 excluded; 0 is plain training.
    """

    title: ClassVar[str] = "label smoothing"
    about_classes: ClassVar[str] = "spreads a label over the classes"
    frameworks: ClassVar[tuple[str, ...]] = ("torch", "keras")

    smoothing: float = 0.1

    def __post_init__(self) -> None:
        require(-1 <= self.smoothing < 1, "smoothing", self.smoothing, "at least -1 and below 1")

    def at(self, epoch: int, epochs: int) -> float:
        """The smoothing in `epoch`, counted from 0, of `epochs`.

        >>> [LabelSmoothing(-0.2).at(epoch, 8) for epoch in range(8)]
        [0.0, 0.0, 0.0, 0.0, -0.1, -0.2, -0.2, -0.2]
        """
        if self.smoothing >= 0:
            return self.smoothing
        return self.smoothing * min(1.0, max(0.0, 4 * (epoch + 1) / epochs - 2))

    def loop(self, recipe: Any, seed: int) -> Any:
        """Return descent on the smoothed loss."""
        return loops_for(recipe).label_smoothing(self, recipe, seed)
