"""What an audit can prove at most, and what a claim allows an attack at most."""

from __future__ import annotations

import math
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from ..checks import non_negative, open_unit, positive, require
from ..types import Float64, Floats
from .inputs import whole
from .one_run import epsilon_one_run
from .rates import epsilon_clopper_pearson_both


def max_provable_epsilon(n_in: int, n_out: int, *, delta: float, alpha: float) -> float:
    """Return the bound of `epsilon_clopper_pearson_both` where every trial was called right.

    Raises:
        UsageError: no trials on a side, or alpha or delta is out of range.
    """
    return epsilon_clopper_pearson_both(n_in, n_in, 0, n_out, delta=delta, alpha=alpha).value


def max_provable_epsilon_one_run(m: int, *, delta: float, alpha: float) -> float:
    """Return the bound of `epsilon_one_run` where a guess was made for each of m canaries, and all were right.

    Raises:
        UsageError: m is below 1, or alpha or delta is out of range.
    """
    return epsilon_one_run(m, m, m, delta=delta, alpha=alpha).value


@overload
def dp_tpr_bound(fpr: float, epsilon: float, delta: float) -> float: ...
@overload
def dp_tpr_bound(fpr: Floats, epsilon: float, delta: float) -> Float64: ...
def dp_tpr_bound(fpr: float | Floats, epsilon: float, delta: float) -> float | Float64:
    """Return the largest true-positive rate that (epsilon, delta)-DP allows at a false-positive rate.

    min(e^epsilon FPR + delta, 1 - e^-epsilon (1 - delta - FPR)), cut at 1 (Kairouz, Oh and Viswanath 2015,
    arXiv:1311.0776).

    Args:
        fpr: 0 to 1; a number or an array of any shape.
        epsilon: at least 0.
        delta: 0 to 1.

    Returns:
        A float for a number, float64 of the shape of `fpr` for an array.

    Raises:
        UsageError: an argument is out of range.
    """
    rate = _rates(fpr)
    _check_claim(epsilon, delta)
    factor = math.exp(min(epsilon, 700.0))
    most = np.minimum(factor * rate + delta, 1 - (1 - delta - rate) / factor)
    return _like(fpr, np.minimum(most, 1.0))


def dp_advantage_bound(epsilon: float, delta: float) -> float:
    """Return the largest TPR - FPR that (epsilon, delta)-DP allows: (e^epsilon - 1 + 2 delta) / (e^epsilon + 1).

    Raises:
        UsageError: epsilon is negative or not finite, or delta is not from 0 to 1.
    """
    _check_claim(epsilon, delta)
    shrunk = math.exp(-epsilon)
    return (1 - shrunk + 2 * delta * shrunk) / (1 + shrunk)


@overload
def gdp_tpr_bound(fpr: float, mu: float) -> float: ...
@overload
def gdp_tpr_bound(fpr: Floats, mu: float) -> Float64: ...
def gdp_tpr_bound(fpr: float | Floats, mu: float) -> float | Float64:
    """Return the largest true-positive rate that mu-GDP allows: Phi(mu + Phi^-1(FPR)).

    Dong, Roth and Su (2022, arXiv:1905.02383). `fpr` and the result are as for `dp_tpr_bound`.

    Raises:
        UsageError: fpr is not from 0 to 1, or mu is negative or not finite.
    """
    from scipy.special import ndtr, ndtri

    rate = _rates(fpr)
    non_negative(mu=mu)
    return _like(fpr, np.asarray(ndtr(mu + ndtri(rate))))


def rero_bound(kappa: float, sigma: float, steps: int, q: float) -> float:
    """Return the largest success of a reconstruction attack on one record under DP-SGD.

    Hayes, Mahloujifar and Balle (2023, arXiv:2302.07225), the blow-up function of DP-SGD: the most mass that the
    outputs with the record can put on a set to which those without it give `kappa`. Exact for q = 1 and for one step.
    Otherwise Monte-Carlo with a fixed seed, and the result is the upper end of an interval that misses the truth with
    probability at most 0.001: the set is enlarged until its mass without the record exceeds kappa, and its mass with
    the record is replaced by the upper Clopper-Pearson end, each at 0.0005.

    Args:
        kappa: success of the best guess without the model, 0 < kappa < 1.
        sigma: noise multiplier, greater than 0.
        steps: at least 1.
        q: sampling rate of Poisson batches, 0 < q <= 1.

    Raises:
        UsageError: an argument is out of range.
    """
    from scipy.special import ndtr, ndtri

    open_unit(kappa=kappa)
    positive(sigma=sigma)
    require(whole(steps) and steps >= 1, "steps", steps, "a whole number >= 1")
    require(0 < q <= 1, "q", q, "> 0 and <= 1")
    if q == 1:
        return float(ndtr(ndtri(kappa) + math.sqrt(steps) / sigma))
    if steps == 1:
        return float((1 - q) * kappa + q * ndtr(1 / sigma + ndtri(kappa)))
    from .reconstruction import subsampled_rero_bound

    return subsampled_rero_bound(kappa, sigma, steps, q)


def _check_claim(epsilon: float, delta: float) -> None:
    non_negative(epsilon=epsilon)
    require(0 <= delta <= 1, "delta", delta, "from 0 to 1")


def _rates(fpr: ArrayLike) -> Float64:
    rates = np.asarray(fpr, dtype=np.float64)
    require(bool(((rates >= 0) & (rates <= 1)).all()), "fpr", fpr, "from 0 to 1")
    return rates


def _like(given: object, values: Float64) -> float | Float64:
    return values if isinstance(given, np.ndarray) else float(values)
