"""Formal mechanisms beside DP-SGD: what one replaced record changes, the noise that hides it, and the claim.

Neighbours hold the same public number of records and differ in one of them, its features and its label. The theorems
about convex training are for the mean of a loss over records with L2 norm at most 1, plus (L / 2) ||W||^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .accounting import gaussian_epsilon
from .checks import non_negative, open_unit, positive, require
from .types import Float64, PrivacyClaim

_ROUNDING = 1 + 1e-9  # of a noise scale that a root search found, so that its claim stays within the target

_COMMON = (
    "The unit is one record: a person with several records is protected less.",
    "Neighbours hold the same number of records, which is public, and differ in one record with its label.",
    "The range of the features, the number of classes and the settings are public, and choosing settings by looking at"
    " the data is not counted.",
    "The noise comes from a seeded pseudo-random generator that is not cryptographic, so that an evaluation can be"
    " repeated; whoever learns the seed can remove it.",
    "The noise is computed in floating point; attacks on its finite precision are not counted.",
)


@dataclass(frozen=True)
class ConvexLoss:
    """What the theorems need to know of a convex loss, for records with L2 norm at most 1.

    Attributes:
        lipschitz: largest L2 norm of one record's gradient.
        smoothness: largest eigenvalue of one record's Hessian.
        rank: largest rank of one record's Hessian.
        trace: largest trace of one record's Hessian.
    """

    lipschitz: float
    smoothness: float
    rank: int
    trace: float

    def log_determinant(self, records: int, regularisation: float) -> float:
        """Most by which one record's Hessian H raises ln det of the others' sum A, at least records x L x identity.

        det(A + H) / det(A) = det(1 + A^-1/2 H A^-1/2) has at most `rank` eigenvalues above 1, which exceed it by at
        most trace / (records x L) in sum; their product is largest where they are equal.
        """
        return self.rank * math.log1p(self.trace / (self.rank * records * regularisation))


def logistic_loss(classes: int) -> ConvexLoss:
    """Two classes: ln(1 + e^-m) of one margin. More: cross-entropy of the softmax of one score a class.

    The gradient of the second is (p - e_y) x^T with norm at most sqrt(2), its Hessian diag(p) - p p^T times x x^T: the
    first factor has rank classes - 1, trace 1 - ||p||^2 and eigenvalues of at most 1/2.
    """
    require(classes >= 2, "classes", classes, ">= 2")
    if classes == 2:
        return ConvexLoss(lipschitz=1.0, smoothness=0.25, rank=1, trace=0.25)
    return ConvexLoss(lipschitz=math.sqrt(2), smoothness=0.5, rank=classes - 1, trace=1 - 1 / classes)


def output_sensitivity(loss: ConvexLoss, records: int, regularisation: float, gradient_norm: float = 0.0) -> float:
    """Return the L2 sensitivity of regularised weights, Chaudhuri et al. (2011, JMLR 12), corollary 8.

    Args:
        loss: the loss.
        records: training records.
        regularisation: L of the objective, greater than 0.
        gradient_norm: a bound, fixed in advance, on the norm of the objective's gradient where the solver stops. By
            strong convexity it stops within gradient_norm / L of the minimum; both neighbours may.
    """
    positive(records=records, regularisation=regularisation)
    non_negative(gradient_norm=gradient_norm)
    return 2 * (loss.lipschitz / records + gradient_norm) / regularisation


def constant_step_sensitivity(lipschitz: float, passes: int, step: float, batch: int) -> float:
    """Return the L2 sensitivity of permutation SGD with a constant step, Wu et al. (2017, SIGMOD, arXiv:1606.04722).

    A step of at most 2 / smoothness brings no two weight vectors further apart; in each pass one batch holds the
    replaced record and adds at most 2 x lipschitz x step / batch.

    Args:
        lipschitz: largest norm of one record's gradient. A regulariser that all records share does not count.
        passes: passes over the records.
        step: the step, greater than 0 and at most 2 over the smoothness of the objective, which the caller checks.
        batch: records in the smallest batch.
    """
    positive(lipschitz=lipschitz, passes=passes, step=step, batch=batch)
    return 2 * passes * lipschitz * step / batch


def decreasing_step_sensitivity(lipschitz: float, regularisation: float, batches: int, batch: int) -> float:
    """Return the L2 sensitivity of permutation SGD with steps min(1 / smoothness, 1 / (L t)), t counting updates.

    Update t shrinks distances by 1 - L step_t, so the 2 x lipschitz x step / batch that one pass adds is at most
    2 x lipschitz / (batch x L x T) after the last of T = passes x batches updates; `passes` of them sum to
    2 x lipschitz / (L x batches x batch). For one record a batch this is lemma 8 of Wu et al. (2017). Larger batches do
    not divide it again: the same records make fewer updates, and each pass is forgotten less.

    Args:
        lipschitz: largest norm of one record's gradient. A regulariser that all records share does not count.
        regularisation: L of the objective, greater than 0.
        batches: batches of a pass.
        batch: records in the smallest batch.
    """
    positive(lipschitz=lipschitz, regularisation=regularisation, batches=batches, batch=batch)
    return 2 * lipschitz / (regularisation * batches * batch)


@lru_cache(maxsize=256)
def gaussian_multiplier(epsilon: float, delta: float) -> float:
    """Return the smallest standard deviation over the L2 sensitivity whose exact epsilon at `delta` is `epsilon`."""
    from scipy.optimize import brentq

    positive(epsilon=epsilon)
    open_unit(delta=delta)
    low = high = 1.0
    while gaussian_epsilon(high, delta) > epsilon:
        high *= 2
    while gaussian_epsilon(low, delta) < epsilon:
        low /= 2
    root = brentq(lambda sigma: gaussian_epsilon(sigma, delta) - epsilon, low, high, xtol=1e-12 * low)
    return float(root) * _ROUNDING


@dataclass(frozen=True)
class WeightNoise:
    """Noise on weights.

    Attributes:
        sensitivity: L2 sensitivity of the weights.
        scale: Gaussian: standard deviation of each weight's noise. Otherwise: scale of the Gamma law of its norm.
        delta: None for noise in a uniform direction whose norm is Gamma distributed with one degree for each weight,
            which is density proportional to e^(-norm / scale).
    """

    sensitivity: float
    scale: float
    delta: float | None

    @property
    def epsilon(self) -> float:
        """Epsilon of releasing weights with this noise."""
        if self.delta is None:
            return self.sensitivity / self.scale
        return gaussian_epsilon(self.scale / self.sensitivity, self.delta)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Float64:
        """Return noise: float64 of `shape`."""
        noise = rng.normal(size=shape)
        if self.delta is not None:
            return np.asarray(self.scale * noise)
        return np.asarray(noise / np.linalg.norm(noise) * rng.gamma(noise.size, self.scale))


def weight_noise(sensitivity: float, epsilon: float, delta: float | None) -> WeightNoise:
    """Return the least noise that hides `sensitivity`: Gaussian (Balle and Wang 2018), or Gamma where `delta` is None.

    Raises:
        UsageError: an argument is out of its range.
    """
    positive(sensitivity=sensitivity, epsilon=epsilon)
    if delta is None:
        return WeightNoise(sensitivity, sensitivity / epsilon, None)
    return WeightNoise(sensitivity, sensitivity * gaussian_multiplier(epsilon, delta), delta)


def weights_claim(noise: WeightNoise, how: str, rests_on: tuple[str, ...]) -> PrivacyClaim:
    """Return the claim of weights that were released with `noise`.

    Args:
        noise: as it was drawn.
        how: how the weights were made, in words.
        rests_on: what the sensitivity rests on, in sentences.
    """
    law = f"norm Gamma distributed with scale {noise.scale:.10g}, direction uniform"
    if noise.delta is not None:
        law = f"Gaussian with standard deviation {noise.scale:.10g}"
    return PrivacyClaim(
        epsilon=noise.epsilon,
        delta=noise.delta or 0.0,
        unit="record",
        neighbouring="replace_one",
        sampler="none",
        accountant="closed_form" if noise.delta is None else "gaussian",
        event=f"{how}, L2 sensitivity {noise.sensitivity:.10g}, plus noise: {law}",
        assumptions=(*rests_on, *_COMMON),
    )


@dataclass(frozen=True)
class ObjectiveNoise:
    """The random term b . W / records that objective perturbation adds to its objective.

    Attributes:
        epsilon: epsilon of the exact minimum.
        rate: epsilon' of the paper, what is left for the noise; b has density proportional to
            e^(-norm(b) x rate / (2 x lipschitz)).
        extra_regularisation: what is added to L, where the determinant would take more than half of epsilon.
    """

    epsilon: float
    rate: float
    extra_regularisation: float

    def draw(self, shape: tuple[int, ...], loss: ConvexLoss, rng: np.random.Generator) -> Float64:
        """Return b: float64 of `shape`."""
        return weight_noise(2 * loss.lipschitz, self.rate, None).draw(shape, rng)


def objective_noise(epsilon: float, loss: ConvexLoss, records: int, regularisation: float) -> ObjectiveNoise:
    """Return the noise of objective perturbation, Chaudhuri et al. (2011), algorithm 2 and theorem 9.

    The weights are a smooth invertible function of b. Between neighbours b moves by at most 2 x lipschitz and the
    determinant of the function changes by the factor (1 + c / (records x L))^2 with c = 1/4 for two classes. The paper
    allows for both Hessians; as they are positive one would do, and its figures are kept. For more classes the factor
    is the square of `ConvexLoss.log_determinant`, with the same proof.

    Raises:
        UsageError: an argument is out of its range.
    """
    positive(epsilon=epsilon, records=records, regularisation=regularisation)
    rate = epsilon - 2 * loss.log_determinant(records, regularisation)
    if rate > 0:
        return ObjectiveNoise(epsilon, rate, 0.0)
    least = loss.trace / (loss.rank * records * math.expm1(epsilon / (4 * loss.rank)))
    return ObjectiveNoise(epsilon, epsilon / 2, least - regularisation)


def objective_claim(noise: ObjectiveNoise, solver: WeightNoise, how: str, rests_on: tuple[str, ...]) -> PrivacyClaim:
    """Return the claim of a perturbed objective's minimum, released with the noise that hides the solver's error.

    Given the exact minimum, weights that stop near it are hidden by `solver`; the two epsilons add up, as in
    approximate minima perturbation (Iyengar et al. 2019, IEEE S&P), here for pure epsilon.

    Args:
        noise: the random term, as it was drawn.
        solver: noise on the weights; its sensitivity is twice the distance at which the solver may stop.
        how: the objective, in words.
        rests_on: what the theorem rests on, in sentences.
    """
    return PrivacyClaim(
        epsilon=noise.epsilon + solver.epsilon,
        delta=0.0,
        unit="record",
        neighbouring="replace_one",
        sampler="none",
        accountant="closed_form",
        event=(
            f"{how}, random linear term at rate {noise.rate:.10g}, extra regularisation"
            f" {noise.extra_regularisation:.10g}, and noise of scale {solver.scale:.4g} against the solver's error"
        ),
        assumptions=(*rests_on, *_COMMON),
    )


def vote_noise(epsilon: float, delta: float, queries: int) -> float:
    """Return the standard deviation on vote counts with which `queries` answers cost `epsilon` at `delta`.

    A replaced record changes one teacher, which may vote for another class in every query: each time one count falls
    by 1 and another rises by 1. All counts together have L2 sensitivity sqrt(2 x queries).
    """
    require(queries >= 1, "queries", queries, ">= 1")
    return math.sqrt(2 * queries) * gaussian_multiplier(epsilon, delta)


def votes_claim(deviation: float, delta: float, queries: int, teachers: int) -> PrivacyClaim:
    """Return the claim of a student of noisy votes, whatever the votes were.

    Args:
        deviation: standard deviation of the noise on each count.
        delta: between 0 and 1.
        queries: records that were labelled.
        teachers: teachers that voted, for the words.
    """
    return PrivacyClaim(
        epsilon=gaussian_epsilon(deviation / math.sqrt(2 * queries), delta),
        delta=delta,
        unit="record",
        neighbouring="replace_one",
        sampler="none",
        accountant="gaussian",
        event=(
            f"{queries} queries, each the class with most of {teachers} votes after Gaussian noise of standard"
            f" deviation {deviation:.10g} on every count"
        ),
        assumptions=(
            "Every teacher saw its own part of the records and nothing else; who is in which part, the number of"
            " queries and the order of the records do not depend on their content.",
            "The queries are public records: members of no model, and not protected. Their labels were not read.",
            "The claim holds whatever the votes were. A smaller epsilon that depends on them would have to be"
            " protected itself; none is claimed.",
            *_COMMON,
        ),
    )
