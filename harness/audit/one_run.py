"""Epsilon from guesses about many canaries of one training run (Steinke, Nasr and Jagielski 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..checks import non_negative, require
from ..types import AuditedEpsilon, Float64
from .inputs import check_guesses, check_levels, whole
from .search import largest_rejected

FAIR_COINS = (
    "Each canary was included by its own independent fair coin, the guesses were made without seeing the coins,"
    " and the number of guesses was fixed in advance."
)


def one_run_p_value(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Return how likely v or more right guesses are at most, if training is (epsilon, delta)-DP.

    Steinke, Nasr and Jagielski (2023, arXiv:2305.08846, theorem 5.2): with q = 1 / (1 + e^-epsilon),
    p = P[Bin(r, q) >= v] + 2 m delta max_{i = 1..v} P[v - i <= Bin(r, q) <= v - 1] / i, cut at 1.

    Args:
        m: canaries, at least 1, each included by its own fair coin.
        r: canaries that a guess was made for, 0 to m.
        v: guesses that were right, 0 to r.
        epsilon: at least 0.
        delta: 0 <= delta < 1.

    Raises:
        UsageError: a count is impossible, or epsilon or delta is out of range.
    """
    check_guesses(m, r, v)
    non_negative(epsilon=epsilon)
    require(0 <= delta < 1, "delta", delta, ">= 0 and < 1")
    return p_value_of(m, r, v)(epsilon, delta)


def epsilon_one_run(m: int, r: int, v: int, *, delta: float, alpha: float = 0.05) -> AuditedEpsilon:
    """Return the largest epsilon whose `one_run_p_value` is below alpha: a lower bound.

    The bound suffers from m delta: keep m at most 0.01 / delta. Arguments are those of `one_run_p_value`.

    Raises:
        UsageError: a count is impossible, or alpha or delta is out of range.
    """
    check_guesses(m, r, v)
    check_levels(alpha, delta)
    return one_run_result(one_run_bound(m, r, v, delta, alpha), m, delta, alpha)


def epsilon_one_run_group(m: int, r: int, v: int, copies: int, *, delta: float, alpha: float = 0.05) -> AuditedEpsilon:
    """Return the lower bound on epsilon of one record where each canary was inserted `copies` times.

    A mechanism that is (e, delta)-DP for one record is (k e, delta (e^{k e} - 1) / (e^e - 1))-DP for k of them, and
    that is what is tested. Arguments are those of `epsilon_one_run`; `copies` is at least 1.

    Raises:
        UsageError: a count is impossible, or alpha or delta is out of range.
    """
    check_guesses(m, r, v)
    check_levels(alpha, delta)
    require(whole(copies) and copies >= 1, "copies", copies, "a whole number >= 1")
    p_value = p_value_of(m, r, v)
    epsilon = largest_rejected(lambda e: p_value(copies * e, group_delta(e, delta, copies)) < alpha)
    return one_run_result(epsilon, m, delta, alpha)


def one_run_bound(m: int, r: int, v: int, delta: float, alpha: float) -> float:
    """The number of `epsilon_one_run`, for counts and levels that were checked."""
    p_value = p_value_of(m, r, v)
    return largest_rejected(lambda epsilon: p_value(epsilon, delta) < alpha)


def one_run_result(epsilon: float, m: int, delta: float, alpha: float) -> AuditedEpsilon:
    """Word a bound from one run."""
    method = "one training run (Steinke, Nasr and Jagielski 2023)"
    return AuditedEpsilon(epsilon, epsilon, None, 1 - alpha, "lower bound", method, delta, m, FAIR_COINS)


def group_delta(epsilon: float, delta: float, copies: int) -> float:
    """The delta of a group of `copies` records, at most 1: delta times the sum of e^{j epsilon} over j < copies."""
    terms = np.minimum(epsilon * np.arange(copies), 700.0)  # e^700 is finite, and its product with delta is cut at 1
    return min(1.0, delta * float(np.exp(terms).sum()))


def p_value_of(m: int, r: int, v: int) -> Callable[[float, float], float]:
    """The p-value as a function of (epsilon, delta), with what does not depend on them computed once."""
    if v == 0:
        return lambda _epsilon, _delta: 1.0
    log_counts, wrong, spans = _log_binomials(r, v), r - np.arange(v), np.arange(1, v + 1)

    def p_value(epsilon: float, delta: float) -> float:
        from scipy.special import betaincc, expit

        tail = float(betaincc(r - v + 1, v, expit(-epsilon)))  # P[Bin(r, q) >= v], from 1 - q so that q near 1 is exact
        if delta == 0:
            return tail
        # log P[Bin = j], j = v-1 .. 0: ln q = -ln(1 + e^-epsilon), ln(1 - q) = ln q - epsilon
        log_mass = log_counts - r * math.log1p(math.exp(-epsilon)) - epsilon * wrong
        below = np.cumsum(np.exp(log_mass[::-1]))
        return min(1.0, tail + 2 * m * delta * float((below / spans).max()))

    return p_value


def _log_binomials(r: int, v: int) -> Float64:
    """Logarithm of r over j for j = 0 .. v - 1."""
    from scipy.special import gammaln

    j = np.arange(v)
    return np.asarray(gammaln(r + 1) - gammaln(j + 1) - gammaln(r - j + 1))
