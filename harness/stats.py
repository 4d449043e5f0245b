"""ROC points on tied scores and their bootstrap over models and records (numpy only).

An attack's scores on several targets are crossed data: every record is scored on every target. The bootstrap
therefore resamples both sides (Owen 2007, "The pigeonhole bootstrap", Ann. Appl. Stat. 1(2)): pairs of
complementary models with replacement, and records with replacement, the same resampled records for every target.
It is slightly conservative. Records resampled k times enter the ROC with weight k, so each repetition costs one
cumulative sum and no sorting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .types import Bools, Estimate, Float64, Ints, Over, ScoreTable

Unit = Literal["records", "classes"]
Weights = NDArray[np.floating[Any]]

_CELLS_PER_CHUNK = 2_000_000  # weights held at once: about 8 MB a temporary
_FEW = 10  # records below which a percentile interval of a share is not trusted alone
_TINY = 1e-12  # keeps ratios finite where a resample holds no member or no non-member


@dataclass(frozen=True)
class Resampling:
    """How intervals are drawn: `level` two-sided, `resamples` repetitions, `seed` of their stream."""

    level: float = 0.95
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class RocOrder:
    """One target's records sorted by falling score, with the ends of tied blocks.

    Attributes:
        records: int64 (k,), columns of the score table in order.
        member: bool (k,), truth in that order.
        ends: int64 (b,), position of the last record of each block of equal scores.
    """

    records: Ints
    member: Bools
    ends: Ints

    @classmethod
    def of(cls, scores: Float64, member: Bools, scored: Bools) -> RocOrder:
        """Sort the scored records of one target; all arrays (n,)."""
        columns = np.flatnonzero(scored)
        order = columns[np.argsort(-scores[columns], kind="stable")]
        values = scores[order]
        ends = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
        return cls(order, member[order], ends)


@dataclass(frozen=True, eq=False)
class Curve:
    """Cumulative weights at block ends: `tp`, `fp` (b, r), one column a repetition; the last row holds the totals."""

    tp: Weights
    fp: Weights

    @classmethod
    def of(cls, order: RocOrder, weights: Weights) -> Curve:
        """Accumulate `weights` (n, r) of all records along `order`."""
        sorted_weights = weights[order.records]
        tp = np.cumsum(sorted_weights * order.member[:, np.newaxis], axis=0)[order.ends]
        fp = np.cumsum(sorted_weights, axis=0)[order.ends] - tp
        return cls(tp, fp)

    def __add__(self, other: Curve) -> Curve:
        """The curve of both sets of records together."""
        return Curve(self.tp + other.tp, self.fp + other.fp)

    def auc(self) -> Float64:
        """Area under the ROC (r,); ties count one half, as in the Mann-Whitney statistic."""
        tp = np.pad(self.tp, ((1, 0), (0, 0)))
        gained = np.diff(self.fp, axis=0, prepend=0)
        area = (gained * (tp[1:] + tp[:-1])).sum(axis=0, dtype=np.float64) / 2
        return np.asarray(area / np.maximum(self.tp[-1] * self.fp[-1].astype(np.float64), _TINY))

    def tpr_at(self, fpr: float) -> Float64:
        """TPR (r,) at the largest set of flagged blocks whose FPR on these records is at most `fpr`.

        A block of equal scores is flagged whole or not at all; nothing is interpolated.
        """
        allowed = (self.fp <= fpr * self.fp[-1].astype(np.float64) + 1e-9).sum(axis=0)
        flagged = np.pad(self.tp, ((1, 0), (0, 0)))[allowed, np.arange(self.tp.shape[1])]
        return np.asarray(flagged / np.maximum(self.tp[-1], _TINY), dtype=np.float64)

    def difference(self) -> Weights:
        """TPR - FPR after every block, with "flag nobody" in front: (b + 1, r)."""
        difference = self.tp / np.maximum(self.tp[-1], _TINY) - self.fp / np.maximum(self.fp[-1], _TINY)
        return np.pad(difference, ((1, 0), (0, 0)))


def split_advantage(first: Curve, second: Curve) -> Float64:
    """Membership advantage TPR - FPR (Yeom et al. 2018, definition 4), threshold and estimate on separate halves.

    The threshold that is best on one half of the records is applied to the other half, both ways, and the two are
    averaged. The usual maximum over thresholds on the same records is positive even at chance; this is not.

    Args:
        first: curve of one half of the records, along the same order as `second`.
        second: curve of the other half.

    Returns:
        float64 (r,), between -1 and 1.
    """
    one, other = first.difference(), second.difference()
    columns = np.arange(one.shape[1])
    crossed = other[one.argmax(axis=0), columns] + one[other.argmax(axis=0), columns]
    return np.asarray(crossed / 2, dtype=np.float64)


def crossed_fpr(first: Curve, second: Curve, fpr: float) -> Float64:
    """False positive rate that a threshold for `fpr` really has: set on one half of the records, counted on the other.

    Counted on the records that set the threshold, the rate never exceeds `fpr`, whatever the truth. Both ways are
    averaged. The thresholds rest on half of the records, so the rate is a little higher than that of the full sample:
    about (k + 1) / (m + 1) where k of m non-members may be flagged.

    Returns:
        float64 (r,).
    """
    columns = np.arange(first.fp.shape[1])

    def counted(setter: Curve, counter: Curve) -> Float64:
        last = (setter.fp <= fpr * setter.fp[-1].astype(np.float64) + 1e-9).sum(axis=0)
        flagged = np.pad(counter.fp, ((1, 0), (0, 0)))[last, columns]
        return np.asarray(flagged / np.maximum(counter.fp[-1], _TINY), dtype=np.float64)

    return (counted(first, second) + counted(second, first)) / 2


def record_weights(rng: np.random.Generator, repetitions: int, records: int) -> Weights:
    """How often each record is drawn in each repetition: float32 (records, repetitions), columns sum to `records`.

    Whole numbers below 2**24, so that float32 adds them without error.
    """
    drawn = rng.multinomial(records, np.full(records, 1 / records), size=repetitions)
    return np.ascontiguousarray(drawn.T, dtype=np.float32)


def model_weights(rng: np.random.Generator, repetitions: int, targets: Ints) -> Float64:
    """Share of each target in each repetition's mean: float64 (repetitions, t), rows sum to 1.

    Complementary models (2i, 2i + 1) are drawn together: their memberships are opposite, hence dependent.
    """
    _, pair_of = np.unique(targets // 2, return_inverse=True)
    pairs = int(pair_of.max()) + 1
    drawn = rng.multinomial(pairs, np.full(pairs, 1 / pairs), size=repetitions).astype(np.float64)
    weights = drawn[:, pair_of]
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def percentile_interval(value: float, draws: Float64, level: float) -> tuple[float, float]:
    """Percentile interval of `draws` (r,), widened where needed to contain `value`."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return min(float(low), value), max(float(high), value)


def share_interval(share: float, draws: Float64, level: float, records: int) -> tuple[float, float]:
    """Interval of a share between 0 and 1 that rests on `records` distinct records.

    The percentile interval, and where fewer than ten records make the share (or its complement) its union with the
    exact interval of the same share among `records` independent records: resampling sees little or no uncertainty
    when almost nobody is flagged, or almost everything is right. 0 of 1200 is at most 0.3 %.
    """
    low, high = percentile_interval(share, draws, level)
    if min(share, 1 - share) * records >= _FEW:
        return low, high
    exact = clopper_pearson(round(share * records), records, level)
    return min(exact.low, low), max(exact.high, high)


class CrossedStatistic:
    """A per-target statistic, averaged over targets, with its crossed bootstrap; see the module docstring."""

    def __init__(self, table: ScoreTable, resampling: Resampling) -> None:
        """Sort every target once."""
        self.table = table
        self.resampling = resampling
        self.orders = [
            RocOrder.of(scores, member, scored)
            for scores, member, scored in zip(table.scores, table.member, table.scored, strict=True)
        ]

    def draws(self, fprs: Sequence[float]) -> tuple[dict[str, float], dict[str, Float64]]:
        """Point values and bootstrap draws of every membership metric, by name.

        Names: `auc`, `advantage`, and for each `f` in `fprs`: `tpr_at_fpr_{f}`, `realised_fpr_at_fpr_{f}`.
        """
        n = self.table.scores.shape[1]
        rng = np.random.default_rng(self.resampling.seed)
        half = rng.permutation(n) % 2 == 0
        whole = self.per_target(np.ones((n, 1)), half, fprs)
        chunk = max(1, _CELLS_PER_CHUNK // n)
        parts: dict[str, list[Float64]] = {name: [] for name in whole}
        for start in range(0, self.resampling.resamples, chunk):
            repetitions = min(chunk, self.resampling.resamples - start)
            shares = model_weights(rng, repetitions, self.table.targets)
            for name, values in self.per_target(record_weights(rng, repetitions, n), half, fprs).items():
                parts[name].append((values * shares).sum(axis=1))
        points = {name: float(values.mean()) for name, values in whole.items()}
        return points, {name: np.concatenate(values) for name, values in parts.items()}

    def per_target(self, weights: Weights, half: Bools, fprs: Sequence[float]) -> dict[str, Float64]:
        """Every metric for every repetition and target: float64 (r, t) by name.

        Args:
            weights: of the records, (n, r).
            half: bool (n,), the first half of the records, for the advantage.
            fprs: false positive rates.
        """
        columns: dict[str, list[Float64]] = {}
        for order in self.orders:
            first = Curve.of(order, weights * half[:, np.newaxis])
            second = Curve.of(order, weights * ~half[:, np.newaxis])
            curve = first + second
            columns.setdefault("auc", []).append(curve.auc())
            columns.setdefault("advantage", []).append(split_advantage(first, second))
            for fpr in fprs:
                columns.setdefault(f"tpr_at_fpr_{fpr:g}", []).append(curve.tpr_at(fpr))
                columns.setdefault(f"realised_fpr_at_fpr_{fpr:g}", []).append(crossed_fpr(first, second, fpr))
        return {name: np.stack(values, axis=1) for name, values in columns.items()}

    def roc(self, grid: Float64) -> tuple[Float64, Float64, Float64]:
        """Mean TPR over targets on `grid` of FPRs (g,), with the ends of its pointwise interval, each (g,)."""
        n = self.table.scores.shape[1]
        rng = np.random.default_rng(self.resampling.seed)
        weights = record_weights(rng, self.resampling.resamples, n)
        weights = np.hstack([np.ones((n, 1), dtype=weights.dtype), weights])
        shares = model_weights(rng, self.resampling.resamples, self.table.targets)
        mean, draws = np.zeros(len(grid)), np.zeros((len(grid), self.resampling.resamples))
        for t, order in enumerate(self.orders):
            curve = Curve.of(order, weights)
            tprs = np.stack([curve.tpr_at(fpr) for fpr in grid])  # (g, r + 1)
            mean += tprs[:, 0] / len(self.orders)
            draws += tprs[:, 1:] * shares[:, t]
        tails = [(1 - self.resampling.level) / 2, (1 + self.resampling.level) / 2]
        low, high = np.quantile(draws, tails, axis=1)
        return mean, np.minimum(low, mean), np.maximum(high, mean)


def crossed_mean(
    values: Float64,
    weights: NDArray[np.generic],
    targets: Ints,
    resampling: Resampling,
    unit: Unit = "records",
) -> Estimate:
    """Mean over targets of the weighted mean of `values` over their units, with the crossed bootstrap.

    Args:
        values: float64 (t, n), e.g. whether target t classifies record j correctly.
        weights: bool or float (t, n), which units count for which target.
        targets: int64 (t,), model numbers (complements are resampled together).
        resampling: level, repetitions, seed.
        unit: what the n columns are.
    """
    rng = np.random.default_rng(resampling.seed)
    weight = weights.astype(np.float64)
    units = record_weights(rng, resampling.resamples, values.shape[1])
    per_target = (units.T @ (values * weight).T) / np.maximum(units.T @ weight.T, _TINY)
    draws = (per_target * model_weights(rng, resampling.resamples, targets)).sum(axis=1)
    value = float(((values * weight).sum(axis=1) / weight.sum(axis=1)).mean())
    if unit == "records":
        low, high = share_interval(value, draws, resampling.level, int((weight > 0).any(axis=0).sum()))
    else:
        low, high = percentile_interval(value, draws, resampling.level)
    method = bootstrap_method(targets, values.shape[1], unit, resampling)
    return Estimate(value, low, high, resampling.level, method, values.shape[1], interval_over(targets, unit))


def clopper_pearson(successes: int, n: int, level: float) -> Estimate:
    """A proportion of independent records with its exact interval (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, successes, n - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, n - successes)) if successes < n else 1.0
    return Estimate(successes / n, low, high, level, "Clopper-Pearson", n, "records")


def interval_over(targets: Ints, unit: Unit) -> Over:
    """What an interval covers: one pair of models says nothing of how models vary."""
    if len(np.unique(targets // 2)) < 2:
        return unit
    return "models and records" if unit == "records" else "models and classes"


def bootstrap_method(targets: Ints, units: int, unit: Unit, resampling: Resampling) -> str:
    """The method of an interval, in words."""
    pairs = len(np.unique(targets // 2))
    models = f"{pairs} complementary model pairs and " if pairs > 1 else ""
    return (
        f"mean over {len(targets)} target models; percentile bootstrap, {resampling.resamples} resamples of "
        f"{models}{units} {unit}"
    )
