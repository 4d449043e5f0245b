"""Bolt-on private SGD: plain SGD over permutations, then noise on the weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, repeat
from typing import ClassVar

import numpy as np

from ..harness.checks import non_negative, open_unit, positive, require
from ..harness.errors import UsageError
from ..harness.mechanisms import (
    constant_step_sensitivity,
    decreasing_step_sensitivity,
    weight_noise,
    weights_claim,
)
from ..harness.seeds import generator
from ..harness.types import Float64, PrivacyClaim
from ._convex_solver import predicted
from ._convex_training import ConvexTraining, Problem


@dataclass(frozen=True)
class BoltOn(ConvexTraining):
    """Bolt-on SGD (Wu et al. 2017, SIGMOD, arXiv:1606.04722, algorithms 1 and 2) of logistic regression.

    Some passes of SGD over a random permutation of the records, the same one in every pass, then noise on the last
    weights. The recipe gives the form of the model; its `C` and its solver are replaced.

    Deviations. More than two classes are one softmax, as in `ConvexOutputPerturbation`. No projection: the regulariser
    is shared by neighbours and cancels in what they differ by. With decreasing steps the sensitivity is not divided by
    the batch size, see `mechanisms.decreasing_step_sensitivity`. Noise is Gaussian with its exact epsilon (Balle and
    Wang 2018), or the paper's with `target_delta` null. TensorFlow Privacy's `bolt_on` is not used: it divides by the
    batch size and draws its noise from the constant seed 1, so that whoever has the weights can remove it.

    Attributes:
        target_epsilon: epsilon of the claim, greater than 0.
        target_delta: delta of the claim, below one over the number of training records; None for pure epsilon.
        passes: passes over the records, at least 1.
        batch_size: records in a batch, at least 1; batches differ by at most one record.
        regularisation: L of the objective on records scaled to norm at most 1, at least 0.
        learning_rate: constant step, greater than 0, at most 2 over the objective's smoothness (1/4 + L for two
            classes, 1/2 + L for more); None: decreasing steps min(1 / smoothness, 1 / (L t)), which need L > 0.
        max_norm: L2 norm to which records are clipped, greater than 0 and chosen without looking at them; None: the
            largest that the data's public range allows.
    """

    words: ClassVar[str] = "bolt-on SGD"

    target_epsilon: float = 1.0
    target_delta: float | None = 1e-5
    passes: int = 10
    batch_size: int = 50
    regularisation: float = 0.01
    learning_rate: float | None = None
    max_norm: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        non_negative(regularisation=given.pop("regularisation"))
        positive(**given)
        if self.target_delta is not None:
            open_unit(target_delta=self.target_delta)
        if self.learning_rate is None and self.regularisation == 0:
            raise UsageError("regularisation=0.0: must be > 0 with decreasing steps, or learning_rate must be given")

    def fitted(self, problem: Problem, seed: int) -> tuple[Float64, PrivacyClaim]:
        """Return the perturbed last weights with their claim.

        Raises:
            UsageError: the learning rate is too large for the objective.
        """
        z = problem.z
        order = generator(seed, "bolt-on order").permutation(len(z))
        batches = np.array_split(order, max(1, round(len(z) / self.batch_size)))
        weights = np.zeros(problem.shape)
        uses = np.zeros(len(z), dtype=np.int64)
        for step, batch in zip(self.steps(problem), batches * self.passes, strict=False):
            residuals = predicted(z[batch] @ weights.T) - problem.targets[batch]
            weights -= step * (residuals.T @ z[batch] / len(batch) + self.regularisation * weights)
            uses[batch] += 1
        passes = int(uses.max())
        noise = weight_noise(self.sensitivity(problem, passes, len(batches)), self.target_epsilon, self.target_delta)
        rule = "min(1 / smoothness, 1 / (L t))" if self.learning_rate is None else f"{self.learning_rate:.10g}"
        how = (
            f"{passes} passes of SGD over one permutation in {len(batches)} batches, step {rule}, regularisation"
            f" {self.regularisation:.10g}"
        )
        order_words = "The permutation is random and the same for neighbours; only the last weights are released."
        released = weights + noise.draw(problem.shape, generator(seed, "bolt-on noise"))
        return released, weights_claim(noise, how, (problem.words, order_words))

    def sensitivity(self, problem: Problem, passes: int, batches: int) -> float:
        """L2 sensitivity of the last weights after `passes` passes of `batches` batches."""
        lipschitz, smallest = problem.loss.lipschitz, len(problem.z) // batches
        if self.learning_rate is None:
            return decreasing_step_sensitivity(lipschitz, self.regularisation, batches, smallest)
        return constant_step_sensitivity(lipschitz, passes, self.learning_rate, smallest)

    def steps(self, problem: Problem) -> Iterator[float]:
        """Yield step sizes, without end.

        Raises:
            UsageError: a constant one is so large that steps could drive neighbours apart.
        """
        smoothness = problem.loss.smoothness + self.regularisation
        if self.learning_rate is None:
            yield from (min(1 / smoothness, 1 / (self.regularisation * t)) for t in count(1))
        else:
            most = 2 / smoothness
            require(self.learning_rate <= most, "learning_rate", self.learning_rate, f"at most {most:.4g}")
            yield from repeat(self.learning_rate)
