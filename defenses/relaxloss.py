"""RelaxLoss: training that holds the mean loss at a level above zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..harness.checks import positive
from ._loops import loops_for
from ._regularised import Regularised


@dataclass(frozen=True)
class RelaxLoss(Regularised):
    """RelaxLoss (Chen, Yu, Fritz 2022, arXiv:2207.05801, algorithm 1).

    A heuristic. A batch whose mean loss is at least `alpha` is descended on. Below it, every other epoch (the first,
    the third, ...) ascends on the loss; the epochs between flatten the answers: they descend on the cross-entropy with
    soft labels that keep the probability of the true class and share the rest equally among the others. No gradient
    flows through the soft labels. A Keras model's own loss is compared with `alpha`, descended and ascended on; its
    penalties are descended on in every step.

    Deviations: the authors' published programs differ from the algorithm and from each other (they let the gradient
    through, cap the kept probability, or flatten only what is misclassified while ascending); this is the algorithm.

    Attributes:
        alpha: mean loss to hold, in nats, greater than 0.
    """

    title: ClassVar[str] = "RelaxLoss"
    about_classes: ClassVar[str] = "flattens the probabilities of classes"
    frameworks: ClassVar[tuple[str, ...]] = ("torch", "keras")

    alpha: float = 0.5

    def __post_init__(self) -> None:
        positive(alpha=self.alpha)

    def loop(self, recipe: Any, seed: int) -> Any:
        """Return descent on the relaxed loss."""
        return loops_for(recipe).relaxloss(self.alpha, recipe, seed)
