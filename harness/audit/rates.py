"""Epsilon from counts of right and wrong decisions in independent trials (one training run each).

`tp` of `n_in` trials with the canary were called "in", `fp` of `n_out` trials without it. Whatever (epsilon, delta)-DP
allows is a region of the two error rates; bounds on the rates that hold together give a bound on epsilon.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from ..accounting import gaussian_epsilon
from ..checks import non_negative, open_unit
from ..types import AuditedEpsilon, Float64
from .inputs import check_levels, check_trials

INDEPENDENT = (
    "The trials are independent, one training run each, and the rule that decides was fixed without looking at them."
    " Records scored against one trained model are not independent trials."
)
GAUSSIAN = "The mechanism trades false positives for false negatives as a Gaussian mechanism does (mu-GDP)."


def epsilon_clopper_pearson(
    tp: int, n_in: int, fp: int, n_out: int, *, delta: float, alpha: float = 0.05
) -> AuditedEpsilon:
    """Return the lower bound ln((TPR - delta) / FPR) at the ends of two exact intervals.

    Jagielski, Ullman and Oprea (2020, arXiv:2006.07709), with delta as in Nasr et al. (2021,
    arXiv:2101.04535): TPR is at least one minus the upper Clopper-Pearson end of the false-negative rate, FPR at most
    its own upper end. Each end is wrong with probability at most alpha / 2.

    Args:
        tp: trials with the canary that were called "in", 0 to `n_in`.
        n_in: trials with the canary, at least 1.
        fp: trials without it that were called "in", 0 to `n_out`.
        n_out: trials without it, at least 1.
        delta: 0 <= delta < 1.
        alpha: probability that the bound is wrong, 0 < alpha < 1.

    Raises:
        UsageError: a count is impossible, or alpha or delta is out of range.
    """
    check_trials(tp, n_in, fp, n_out)
    check_levels(alpha, delta)
    fnr, fpr = _upper_rates(tp, n_in, fp, n_out, alpha)
    return clopper_pearson_result(float(log_ratio(fnr, fpr, delta)), n_in + n_out, delta, alpha)


def epsilon_clopper_pearson_both(
    tp: int, n_in: int, fp: int, n_out: int, *, delta: float, alpha: float = 0.05
) -> AuditedEpsilon:
    """Return the better of `epsilon_clopper_pearson` and ln((TNR - delta) / FNR).

    Both directions rest on the same two interval ends, so the second one costs no part of alpha. Arguments and errors
    are those of `epsilon_clopper_pearson`.
    """
    check_trials(tp, n_in, fp, n_out)
    check_levels(alpha, delta)
    fnr, fpr = _upper_rates(tp, n_in, fp, n_out, alpha)
    return clopper_pearson_result(float(best_log_ratio(fnr, fpr, delta)), n_in + n_out, delta, alpha)


def mu_gdp(tp: int, n_in: int, fp: int, n_out: int, *, alpha: float = 0.05) -> float:
    """Return a lower bound on mu of a mu-GDP mechanism, >= 0 (Nasr et al. 2023, arXiv:2302.07956).

    mu = Phi^-1(1 - FPR) - Phi^-1(FNR) at the upper Clopper-Pearson ends, each at alpha / 2. It says nothing of a
    mechanism that is not mu-GDP. Arguments and errors are those of `epsilon_clopper_pearson`.
    """
    check_trials(tp, n_in, fp, n_out)
    open_unit(alpha=alpha)
    return max(0.0, float(gaussian_shift(*_upper_rates(tp, n_in, fp, n_out, alpha))))


def epsilon_from_mu(mu: float, delta: float) -> float:
    """Return the exact epsilon at `delta` of a mu-GDP mechanism, 0 at mu = 0.

    Raises:
        UsageError: mu is negative or not finite, or delta is not strictly between 0 and 1.
    """
    non_negative(mu=mu)
    open_unit(delta=delta)
    return gaussian_epsilon(1 / mu, delta) if mu > 1e-300 else 0.0


def epsilon_gdp(tp: int, n_in: int, fp: int, n_out: int, *, delta: float, alpha: float = 0.05) -> AuditedEpsilon:
    """Return `epsilon_from_mu` at the bound of `mu_gdp`: a bound for Gaussian mechanisms only.

    Subsampled DP-SGD is not of that family. Arguments and errors are those of `epsilon_clopper_pearson`, save that
    delta must be greater than 0.
    """
    mu = mu_gdp(tp, n_in, fp, n_out, alpha=alpha)
    return gdp_result(epsilon_from_mu(mu, delta), n_in + n_out, delta, alpha)


def as_heuristic(found: AuditedEpsilon, why: str) -> AuditedEpsilon:
    """Return `found` marked as a heuristic: what it assumes is known not to hold, for the reason `why`."""
    return dataclasses.replace(found, kind="heuristic", assumes=f"{found.assumes} Not met here: {why}")


def clopper_pearson_result(epsilon: float, n: int, delta: float, alpha: float) -> AuditedEpsilon:
    """Word an epsilon from Clopper-Pearson ends; negative values become 0."""
    value = max(0.0, epsilon)
    method = "Clopper-Pearson on both rates (Jagielski et al. 2020)"
    return AuditedEpsilon(value, value, None, 1 - alpha, "lower bound", method, delta, n, INDEPENDENT)


def gdp_result(epsilon: float, n: int, delta: float, alpha: float) -> AuditedEpsilon:
    """Word an epsilon from a bound on mu."""
    method = "mu-GDP from Clopper-Pearson on both rates (Nasr et al. 2023)"
    assumes = f"{GAUSSIAN} {INDEPENDENT}"
    return AuditedEpsilon(epsilon, epsilon, None, 1 - alpha, "conditional lower bound", method, delta, n, assumes)


@lru_cache(maxsize=32)
def upper_ends(n: int, alpha: float) -> Float64:
    """Upper one-sided Clopper-Pearson ends at `alpha` of 0, 1, .. n errors in n trials: float64 (n + 1,)."""
    ends = upper_end(np.arange(n + 1), n, alpha)
    ends.flags.writeable = False  # shared by all who ask
    return ends


def upper_end(errors: ArrayLike, n: int, alpha: float) -> Float64:
    """Upper one-sided Clopper-Pearson end at `alpha` of a rate: 1 where every trial was an error."""
    from scipy.special import betainccinv

    k = np.asarray(errors)
    return np.where(k < n, betainccinv(k + 1, np.maximum(n - k, 1), alpha), 1.0)


def log_ratio(fnr: ArrayLike, fpr: ArrayLike, delta: float) -> Float64:
    """ln((1 - fnr - delta) / fpr), minus infinity where the numerator is not positive."""
    left = 1 - np.asarray(fnr, dtype=np.float64) - delta
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(left, 0.0)) - np.log(fpr))


def best_log_ratio(fnr: ArrayLike, fpr: ArrayLike, delta: float) -> Float64:
    """The larger of the two directions of `log_ratio`."""
    return np.maximum(log_ratio(fnr, fpr, delta), log_ratio(fpr, fnr, delta))


def gaussian_shift(fnr: ArrayLike, fpr: ArrayLike) -> Float64:
    """Phi^-1(1 - fpr) - Phi^-1(fnr): mu of the Gaussian trade-off curve through the point."""
    from scipy.special import ndtri

    return np.asarray(-ndtri(fpr) - ndtri(fnr))


def _upper_rates(tp: int, n_in: int, fp: int, n_out: int, alpha: float) -> tuple[Float64, Float64]:
    return upper_end(n_in - tp, n_in, alpha / 2), upper_end(fp, n_out, alpha / 2)
