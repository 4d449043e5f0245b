"""The minimum of a regularised logistic objective, to a gradient norm that is fixed in advance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..harness.errors import PrivassayError
from ..harness.types import Float64
from ._convex_training import Problem

RELATIVE_TOLERANCE = 1e-6
"""Gradient norm at which the solver stops, over what one record can change it by half: lipschitz / records."""

_MOST_STEPS = 200
_SMALLEST_STEP = 2.0**-40


@dataclass(frozen=True, eq=False)
class Objective:
    """Mean loss + (regularisation / 2) ||W||^2 + tilt . W / records, in weights W of `problem.shape`."""

    problem: Problem
    regularisation: float
    tilt: Float64

    @property
    def tolerance(self) -> float:
        """Gradient norm to reach. It does not depend on the records' content."""
        return RELATIVE_TOLERANCE * self.problem.loss.lipschitz / len(self.problem.z)

    def gradient(self, weights: Float64) -> Float64:
        """Gradient at `weights`, of the same shape."""
        z, n = self.problem.z, len(self.problem.z)
        residuals = predicted(z @ weights.T) - self.problem.targets
        return np.asarray((residuals.T @ z + self.tilt) / n + self.regularisation * weights)

    def curvature(self, p: Float64, direction: Float64) -> Float64:
        """Hessian times `direction`, where the model answers `p` (n, classes)."""
        z = self.problem.z
        moved = p * (z @ direction.T)
        shared = p * (moved if p.shape[1] == 1 else moved.sum(axis=1, keepdims=True))
        return np.asarray((moved - shared).T @ z / len(z) + self.regularisation * direction)


def predicted(scores: Float64) -> Float64:
    """Probabilities from scores: (n, classes) by softmax, (n, 1) by the logistic function."""
    from scipy.special import expit, softmax

    return np.asarray(expit(scores) if scores.shape[1] == 1 else softmax(scores, axis=1))


def minimum(objective: Objective) -> Float64:
    """Return weights at which the gradient's norm is at most `objective.tolerance`.

    Newton's method with steps from conjugate gradients, each halved until the gradient's norm falls. Its direction
    lowers that norm, so it converges from anywhere, to rounding error, without a value of the objective.

    Raises:
        PrivassayError: the tolerance was not reached; a claim would not hold.
    """
    weights = np.zeros(objective.problem.shape)
    gradient = objective.gradient(weights)
    for _ in range(_MOST_STEPS):
        norm = float(np.linalg.norm(gradient))
        if norm <= objective.tolerance:
            return weights
        direction = _newton_direction(objective, weights, gradient)
        step = 1.0
        while step > _SMALLEST_STEP:
            ahead = objective.gradient(weights + step * direction)
            if np.linalg.norm(ahead) <= (1 - 0.1 * step) * norm:
                break
            step /= 2
        weights, gradient = weights + step * direction, ahead
    raise PrivassayError(
        f"the minimum was not reached: gradient norm {np.linalg.norm(gradient):.3g} after {_MOST_STEPS} steps, needed"
        f" {objective.tolerance:.3g}: no claim can be made"
    )


def _newton_direction(objective: Objective, weights: Float64, gradient: Float64) -> Float64:
    """Conjugate gradients on Hessian x direction = -gradient, to a residual of at most 1 % of the gradient."""
    p = predicted(objective.problem.z @ weights.T)
    direction = np.zeros_like(gradient)
    residual = -gradient
    search = residual
    square = float((residual**2).sum())
    goal = 1e-4 * square
    for _ in range(10 * gradient.size):
        if square <= goal:
            break
        bent = objective.curvature(p, search)
        length = square / float((search * bent).sum())
        direction = direction + length * search
        residual = residual - length * bent
        before, square = square, float((residual**2).sum())
        search = residual + square / before * search
    return direction
