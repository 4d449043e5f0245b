"""The reconstruction bound of subsampled steps, by Monte-Carlo (`limits.rero_bound`)."""

from __future__ import annotations

import math

import numpy as np

from ..seeds import generator
from ..types import Float64
from .rates import upper_end

_DRAWS = 100_000
_MISS = 0.0005


def subsampled_rero_bound(kappa: float, sigma: float, steps: int, q: float) -> float:
    """Upper end for more than one step of Poisson batches at rate q < 1; `rero_bound` has checked the arguments."""
    rng = generator(0, "rero bound")
    kept = _enough(kappa)
    if kept > _DRAWS:
        return 1.0
    absent = _log_likelihood_ratios(sigma, steps, q, np.zeros(_DRAWS), rng)
    cut = np.partition(absent, _DRAWS - kept)[_DRAWS - kept]
    present = _log_likelihood_ratios(sigma, steps, q, np.full(_DRAWS, q), rng)
    return float(upper_end(int((present >= cut).sum()), _DRAWS, _MISS))


def _log_likelihood_ratios(sigma: float, steps: int, q: float, joins: Float64, rng: np.random.Generator) -> Float64:
    """Logarithms of P/Q of `steps` noisy sums each, float64 (n,); the record joins a batch with probability `joins`.

    Q is N(0, sigma^2) a step, P the mixture of it and of N(1, sigma^2) with weight q.
    """
    total = np.zeros(len(joins))
    for _ in range(steps):
        output = (rng.random(len(joins)) < joins) + sigma * rng.standard_normal(len(joins))
        total += np.logaddexp(math.log1p(-q), math.log(q) + (output - 0.5) / sigma**2)
    return total


def _enough(kappa: float) -> int:
    """How many of the largest draws span a mass of at least kappa, save with probability `_MISS`.

    The mass above the j-th largest of n draws is Beta(j, n - j + 1). One more than n where no number is enough.
    """
    from scipy.special import betainc

    j = np.arange(1, _DRAWS + 1)
    return int(1 + (betainc(j, _DRAWS - j + 1, kappa) > _MISS).sum())
