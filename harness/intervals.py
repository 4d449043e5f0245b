"""Intervals from the records of one target model: shares, AUC, TPR at a FPR, and what follows from rates.

All of them take records as independent and the model as given: they say nothing of how models vary. `stats` resamples
models too. Scores are such that higher means "member". Records with equal scores are flagged together or not at all,
and nothing is interpolated; in the AUC a tied pair counts one half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .checks import open_unit, require
from .errors import NotApplicable
from .seeds import generator
from .types import Bools, Estimate, Float64, Ints

_FEW = 10  # records (or pairs) that make a share, below which an approximate interval is not trusted alone


@dataclass(frozen=True)
class RateAtRate:
    """A true positive rate with the false positive rate that the same threshold has.

    Attributes:
        tpr: share of the members above the threshold.
        fpr: share of the non-members above it, as counted, not as asked for.
        threshold: a record is flagged where its score exceeds this.
    """

    tpr: Estimate
    fpr: Estimate
    threshold: float


def clopper_pearson(successes: int, n: int, level: float) -> Estimate:
    """A proportion of independent records with its exact interval (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv  # scipy.stats says the same and takes most of a second to import

    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return Estimate(successes / n, low, high, level, "Clopper-Pearson", n, "records")


def widened_if_few(share: float, ends: tuple[float, float], n: int, level: float) -> tuple[float, float]:
    """An approximate interval of a share, united with the exact one where few units make the share or its complement.

    Few are fewer than ten of `n`. The exact interval is that of the same share among `n` independent units.
    """
    if min(share, 1 - share) * n >= _FEW:
        return ends
    exact = clopper_pearson(round(share * n), n, level)
    return min(exact.low, ends[0]), max(exact.high, ends[1])


def delong(scores: Float64, member: Bools, level: float) -> Estimate:
    """AUC of one target with the interval of DeLong, DeLong and Clarke-Pearson (1988, Biometrics 44, 837-845).

    The variance comes from midranks (Sun and Xu 2014, IEEE Signal Processing Letters 21(11), 1389-1393). The
    interval is symmetric on the logit scale, which simulation favours: at 50 + 50 normal scores the plain one misses
    an AUC of 0.92 in 8 % of the runs on one side, the logit one in 3 % and 2 %.

    Two additions. Of m members and k non-members, min(m, k) disjoint pairs can be made. Where the AUC or its complement
    stands for fewer than ten of them, the interval is united with the exact one of that share of pairs. Where the
    variance is zero (all in order, all tied) or unknown (one member only), the exact one stands alone: conservative,
    because each record is used once. `method` says so.

    Args:
        scores: float64 (n,), no NaN.
        member: bool (n,).
        level: two-sided, between 0 and 1.

    Raises:
        UsageError: shapes differ, a score is NaN, there are no members or no non-members, or `level` is out of range.
    """
    inside, outside = _classes(scores, member)
    open_unit(level=level)
    auc, variance = _area_and_variance(inside, outside)
    pairs = min(len(inside), len(outside))
    if variance > 0:
        approximate = _logit_interval(auc, variance, level)
        ends = widened_if_few(auc, approximate, pairs, level)
        more = "" if ends == approximate else f", united with Clopper-Pearson of {pairs} disjoint pairs"
        method = f"DeLong on the logit scale{more}"
    else:
        exact = clopper_pearson(round(auc * pairs), pairs, level)
        ends = min(exact.low, auc), max(exact.high, auc)
        method = f"Clopper-Pearson of {pairs} disjoint pairs, because DeLong gives no variance"
    return Estimate(auc, *ends, level, method, len(scores), "records")


def tpr_at_fpr(scores: Float64, member: Bools, fpr: float, level: float) -> RateAtRate:
    """Largest TPR with a FPR of at most `fpr` on these records, each rate with its Clopper-Pearson interval.

    The threshold depends on the non-members only, so the interval of the TPR is exact for the TPR of this very
    threshold; it is not one for the TPR at a true FPR of `fpr`, which would have to allow for the threshold too. The
    FPR as counted is k / m at the most, while the true one is (k + 1) / (m + 1) on average. Its interval holds all
    the same: without ties the true one follows Beta(k + 1, m - k), whose upper quantile is the upper end.

    Args:
        scores: float64 (n,), no NaN.
        member: bool (n,).
        fpr: between 0 and 1, both excluded.
        level: two-sided, for each rate by itself.

    Raises:
        UsageError: as `delong`, or `fpr` is out of range.
    """
    inside, outside = _classes(scores, member)
    open_unit(fpr=fpr, level=level)
    return _rates(inside, outside, _threshold(outside, fpr), level)


def tpr_at_true_fpr(scores: Float64, member: Bools, fpr: float, level: float, seed: int) -> RateAtRate:
    """TPR and FPR of a threshold that other records chose, each with its Clopper-Pearson interval.

    Half A of the records, stratified by membership, sets the threshold for `fpr`; both rates are counted on half B.
    So both values are without bias and both intervals exact for the true rates of that threshold, ties or not, however
    half A was used. The price: half of the records, and a threshold whose true FPR varies around (k + 1) / (m + 1)
    where k of the m non-members of half A are flagged.

    Args:
        scores: float64 (n,), no NaN.
        member: bool (n,).
        fpr: between 0 and 1, both excluded.
        level: two-sided, for each rate by itself.
        seed: of the split.

    Raises:
        UsageError: as `tpr_at_fpr`, or there are fewer than two non-members.
    """
    inside, outside = _classes(scores, member)
    open_unit(fpr=fpr, level=level)
    require(len(outside) > 1, "non-members", len(outside), "at least 2: one for each half")
    rng = generator(seed, "split threshold")
    drawn = rng.permutation(outside)
    setting, counted = np.split(drawn, [len(drawn) // 2])
    tested = rng.permutation(inside)[len(inside) // 2 :]
    return _rates(tested, counted, _threshold(setting, fpr), level)


def ppv(tpr: Estimate, fpr: Estimate, prior: float) -> Estimate:
    """Probability that a flagged record is a member, where a share `prior` of all records are members.

    prior TPR / (prior TPR + (1 - prior) FPR) (Jayaraman et al. 2021, arXiv 2005.10881). The lower end
    takes the lower TPR with the upper FPR, the upper end the reverse. That holds the truth whenever both intervals
    hold theirs, so with a probability of at least 1 - 2 (1 - level), whatever the dependence. In fact it is wider than
    `level` asks for: both rates would have to be at their ends at once.

    Args:
        tpr: with its interval.
        fpr: with an interval of the same level.
        prior: between 0 and 1, both excluded.

    Raises:
        NotApplicable: nobody is flagged.
        UsageError: the levels differ, or `prior` is out of range.
    """
    open_unit(prior=prior)
    require(tpr.level == fpr.level, "fpr.level", fpr.level, f"that of the TPR, {tpr.level}")
    if tpr.value == fpr.value == 0:
        raise NotApplicable("nobody is flagged, so there is no share of members among the flagged")
    value, low, high = (
        _posterior(true, false, prior)
        for true, false in ((tpr.value, fpr.value), (tpr.low, fpr.high), (tpr.high, fpr.low))
    )
    method = f"at a prior of {prior:g}, opposite ends of both rates combined (conservative); TPR: {tpr.method}"
    return Estimate(value, low, high, tpr.level, method, min(tpr.n, fpr.n), tpr.over)


def _posterior(tpr: float, fpr: float, prior: float) -> float:
    flagged = prior * tpr + (1 - prior) * fpr
    return prior * tpr / flagged if flagged else 0.0


def _classes(scores: Float64, member: Bools) -> tuple[Float64, Float64]:
    """Scores of the members and of the non-members."""
    require(scores.shape == member.shape and scores.ndim == 1, "scores.shape", scores.shape, f"{member.shape}")
    require(not np.isnan(scores).any(), "scores", "NaN", "numbers")
    inside, outside = scores[member], scores[~member]
    require(len(inside) > 0, "members", len(inside), "at least 1")
    require(len(outside) > 0, "non-members", len(outside), "at least 1")
    return inside, outside


def _area_and_variance(inside: Float64, outside: Float64) -> tuple[float, float]:
    """AUC and its DeLong variance, which is NaN where a class has one record."""
    m, k = len(inside), len(outside)
    ranks = _twice_midranks(np.concatenate([inside, outside]))
    # Twice the number of records of the other class below (a tie counts one half): whole numbers, so that equal
    # ones have a variance of exactly zero.
    above = ranks[:m] - _twice_midranks(inside)
    under = 2 * m - (ranks[m:] - _twice_midranks(outside))
    auc = float(above.sum()) / (2 * m * k)
    if min(m, k) < 2:
        return auc, float("nan")
    return auc, float(above.var(ddof=1) / (2 * k) ** 2 / m + under.var(ddof=1) / (2 * m) ** 2 / k)


def _twice_midranks(values: Float64) -> Ints:
    """Twice the mean rank (from 1) of each value among all, equal values sharing theirs: int64."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((2 * np.cumsum(counts) - counts + 1)[place], dtype=np.int64)


def _logit_interval(auc: float, variance: float, level: float) -> tuple[float, float]:
    """Interval of an AUC strictly between 0 and 1, symmetric on the logit scale (delta method)."""
    from scipy.special import expit, logit, ndtri

    reach = ndtri((1 + level) / 2) * np.sqrt(variance) / (auc * (1 - auc))
    return float(min(expit(logit(auc) - reach), auc)), float(max(expit(logit(auc) + reach), auc))


def _threshold(outside: Float64, fpr: float) -> float:
    """The largest score of a non-member that must not be flagged; flagged is what exceeds it."""
    allowed = int(np.floor(fpr * len(outside) + 1e-9))
    place = len(outside) - 1 - allowed
    return float(np.partition(outside, place)[place])


def _rates(inside: Float64, outside: Float64, threshold: float, level: float) -> RateAtRate:
    tpr, fpr = (clopper_pearson(int((scores > threshold).sum()), len(scores), level) for scores in (inside, outside))
    return RateAtRate(tpr, fpr, threshold)
