"""Epsilon from guesses in one training run, within the Gaussian family (Mahloujifar, Melis and Chaudhuri 2024)."""

from __future__ import annotations

from statistics import NormalDist

from ..checks import open_unit
from ..types import AuditedEpsilon
from .inputs import check_guesses
from .one_run import FAIR_COINS
from .rates import GAUSSIAN, epsilon_from_mu
from .search import largest_rejected

_NORMAL = NormalDist()


def epsilon_one_run_fdp(m: int, r: int, v: int, *, delta: float, alpha: float = 0.05) -> AuditedEpsilon:
    """Return epsilon at the largest mu for which v right of r guesses refute mu-GDP.

    Mahloujifar, Melis and Chaudhuri (2024, arXiv:2410.22235), with canaries that are in or out, with the trade-off
    curve of a Gaussian mechanism. Tighter than `epsilon_one_run`, and a bound for that family only.

    Args:
        m: canaries, at least 1, each included by its own fair coin.
        r: canaries that a guess was made for, 0 to m.
        v: guesses that were right, 0 to r.
        delta: 0 < delta < 1.
        alpha: probability that the bound is wrong, 0 < alpha < 1.

    Raises:
        UsageError: a count is impossible, or alpha or delta is out of range.
    """
    check_guesses(m, r, v)
    open_unit(alpha=alpha, delta=delta)
    return one_run_fdp_result(one_run_fdp_bound(m, r, v, delta, alpha), m, delta, alpha)


def one_run_fdp_bound(m: int, r: int, v: int, delta: float, alpha: float) -> float:
    """The number of `epsilon_one_run_fdp`, for counts and levels that were checked."""
    return epsilon_from_mu(largest_rejected(lambda mu: _refuted(mu, m, r, v, alpha)), delta)


def one_run_fdp_result(epsilon: float, m: int, delta: float, alpha: float) -> AuditedEpsilon:
    """Word a bound from one run within the Gaussian family."""
    method = "one training run, Gaussian trade-off curve (Mahloujifar, Melis and Chaudhuri 2024)"
    assumes = f"{GAUSSIAN} {FAIR_COINS}"
    return AuditedEpsilon(epsilon, epsilon, None, 1 - alpha, "conditional lower bound", method, delta, m, assumes)


def _refuted(mu: float, m: int, r: int, v: int, alpha: float) -> bool:
    """Whether v right of r guesses are too many for mu-GDP at level alpha.

    `wrong` and `right` are the paper's h and r, bounds on probabilities that only grow on the way down from v - 1.
    They are refuted as soon as their sum exceeds r / m, and stand for good once they stop growing.
    """
    wrong, right = alpha * (r - v) / m, alpha * v / m
    for i in range(v - 1, -1, -1):
        if wrong + right > r / m:
            return True
        grown = _NORMAL.cdf(_NORMAL.inv_cdf(right) - mu)
        if grown <= wrong:
            return False
        right += i / (r - i) * (grown - wrong)
        wrong = grown
    return wrong + right > r / m
