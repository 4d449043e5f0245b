"""A Bayesian credible interval of epsilon (Zanella-Beguelin et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ..checks import require
from ..types import AuditedEpsilon, Float64
from .inputs import check_levels, check_trials
from .rates import INDEPENDENT
from .search import largest_rejected

_PANELS, _NODES = 16, 10  # on each smooth piece of the integrand
_IGNORED = 1e-14  # posterior mass left out on either side
_TOLERANCE = 1e-6


def epsilon_bayesian(tp: int, n_in: int, fp: int, n_out: int, *, delta: float, alpha: float) -> AuditedEpsilon:
    """Return the equal-tailed credible interval of epsilon, with the posterior median as value.

    Zanella-Beguelin et al. (2022, arXiv:2206.05199): both error rates have Jeffreys' prior Beta(1/2, 1/2)
    and are independent. The posterior of epsilon is the mass of the (epsilon, delta)-DP region, a one-dimensional
    integral over one of the rates. A statement about belief under that prior: how often it holds in
    repetitions is not bounded.

    Args:
        tp: trials with the canary that were called "in", 0 to `n_in`.
        n_in: trials with the canary, at least 1.
        fp: trials without it that were called "in", 0 to `n_out`.
        n_out: trials without it, at least 1.
        delta: 0 <= delta < 1.
        alpha: mass outside the interval, half on each side, 1e-6 <= alpha < 1: the integral is no finer.

    Raises:
        UsageError: a count is impossible, or alpha or delta is out of range.
    """
    check_trials(tp, n_in, fp, n_out)
    check_levels(alpha, delta)
    require(alpha >= 1e-6, "alpha", alpha, ">= 1e-6")
    # The region treats both rates alike: integrating over the one that is known better leaves a smooth integrand.
    sides = sorted([(n_in - tp, n_in), (fp, n_out)], key=lambda side: side[1])
    mass = _region_mass(sides[1], sides[0], delta)
    low, value, high = (_quantile(mass, level) for level in (alpha / 2, 0.5, 1 - alpha / 2))
    method = "credible interval, Jeffreys prior on both rates (Zanella-Beguelin et al. 2022)"
    assumes = f"{INDEPENDENT} The prior is Jeffreys', and the two rates are independent under it."
    n = n_in + n_out
    return AuditedEpsilon(value, low, high, 1 - alpha, "credible interval", method, delta, n, assumes)


def _quantile(mass: Callable[[float], float], level: float) -> float:
    return largest_rejected(lambda epsilon: mass(epsilon) < level, _TOLERANCE)


def _region_mass(outer: tuple[int, int], inner: tuple[int, int], delta: float) -> Callable[[float], float]:
    """Posterior mass of the rates that (epsilon, delta)-DP allows, as a function of epsilon.

    `outer` and `inner` are (errors, trials). With x = sin^2(angle) the posterior of the outer rate x has no poles.
    """
    from scipy.special import betainc, betaincinv, betaln, xlogy

    (k, n), (j, trials) = outer, inner
    ends = betaincinv(k + 0.5, n - k + 0.5, [_IGNORED, 1 - _IGNORED])
    log_scale = np.log(2) - betaln(k + 0.5, n - k + 0.5)

    def mass(epsilon: float) -> float:
        corner = (1 - delta) / (1 + _exp(epsilon))
        kinks = np.sort(np.clip([ends[0], delta, corner, 1 - corner, 1 - delta, ends[1]], *ends))
        angle, weight = _nodes(np.arcsin(np.sqrt(kinks)))
        x = np.square(np.sin(angle), dtype=np.float64)
        density = np.exp(log_scale + xlogy(2 * k, np.sin(angle)) + xlogy(2 * (n - k), np.cos(angle)))
        least = _least_rate(x, epsilon, delta)
        most = 1 - _least_rate(1 - x, epsilon, delta)  # the region is symmetric about (1/2, 1/2)
        share = betainc(j + 0.5, trials - j + 0.5, most) - betainc(j + 0.5, trials - j + 0.5, least)
        return float((weight * density) @ np.maximum(share, 0.0))

    return mass


def _least_rate(x: Float64, epsilon: float, delta: float) -> Float64:
    """Smallest rate of the other error that (epsilon, delta)-DP allows at rate x, in both directions."""
    factor = _exp(epsilon)
    return np.clip(np.maximum((1 - delta - x) / factor, 1 - delta - factor * x), 0.0, 1.0)


def _exp(epsilon: float) -> float:
    return math.exp(min(epsilon, 700.0))


def _nodes(pieces: Float64) -> tuple[Float64, Float64]:
    """Gauss-Legendre nodes and weights on panels of the pieces between ascending points."""
    from scipy.special import roots_legendre

    x, w = roots_legendre(_NODES)
    edges = np.concatenate([np.linspace(a, b, _PANELS + 1)[:-1] for a, b in pairwise(pieces)] + [pieces[-1:]])
    widths = np.diff(edges)[:, None]
    return (edges[:-1, None] + widths * (x + 1) / 2).ravel(), (widths * w / 2).ravel()
