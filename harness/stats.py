"""Intervals: the bootstrap of an attack's ROC over models and records, and those of shares and means.

An attack's scores on several targets are crossed data: every record is scored on every target. The bootstrap
therefore resamples both sides (Owen 2007, "The pigeonhole bootstrap", Ann. Appl. Stat. 1(2)): pairs of
complementary models with replacement, and records with replacement, the same resampled records for every target.
It is slightly conservative. Records resampled k times enter the ROC with weight k, so no repetition sorts anything,
and `roc.Blocks` spares most of the adding up.

Where an attack scores a few records only, those of one target may be members only or non-members only. Such a target
has no ROC. It is left out of the mean, in the point values for good and in a repetition where the resampled records of
the target are such; the other targets' weights are scaled up. A repetition in which no target is left is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import NotApplicable
from .intervals import widened_if_few
from .roc import Blocks, Curve, Excerpts, Halves, RocOrder, Weights, crossed_fpr, split_advantage
from .seeds import generator
from .types import Bools, Estimate, Float64, Ints, Over, ScoreTable

Unit = Literal["records", "classes"]

ON_HALVES = ("advantage", "realised")
"""How the names of metrics begin whose threshold comes from one half of the records and whose value from the other."""

_CELLS_PER_CHUNK = 2**22  # 8 or 16 MB of weights; four chunks are kept
_TINY = 1e-12  # keeps ratios finite where a resample holds no unit of a target


@dataclass(frozen=True)
class Resampling:
    """How intervals are drawn: `level` two-sided, `resamples` repetitions, `seed` of their stream."""

    level: float = 0.95
    resamples: int = 1000
    seed: int = 0


def record_weights(records: int, resampling: Resampling) -> Iterator[Weights]:
    """How often each record is drawn in each repetition: (records, repetitions) in chunks, columns sum to `records`.

    Repetition k has its own stream, so neither chunks nor the number of repetitions change it. The last few chunks
    are kept: all attacks of a run are judged on the same resamples.

    Yields:
        int16 (records, c), or float32 from 32768 records on: whole numbers, in a type that adds them without error.
    """
    step = max(1, _CELLS_PER_CHUNK // records)
    for start in range(0, resampling.resamples, step):
        yield _record_weights(records, resampling.seed, start, min(start + step, resampling.resamples))


@lru_cache(maxsize=4)
def _record_weights(records: int, seed: int, start: int, stop: int) -> Weights:
    weights = np.empty((records, stop - start), dtype=np.int16 if records < 2**15 else np.float32)
    for column, repetition in enumerate(range(start, stop)):
        drawn = generator(seed, "resample records", repetition).integers(0, records, records)
        weights[:, column] = np.bincount(drawn, minlength=records)
    weights.flags.writeable = False  # shared by all who ask
    return weights


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
    return widened_if_few(share, percentile_interval(share, draws, level), records, level)


class CrossedStatistic:
    """A per-target statistic, averaged over targets, with its crossed bootstrap; see the module docstring.

    Attributes:
        table: scores of the targets that have both members and non-members among their scored records.
        resampling: of the bootstrap.
    """

    def __init__(self, table: ScoreTable, resampling: Resampling) -> None:
        """Sort every target once.

        Raises:
            NotApplicable: the scored records of each target are members only, or non-members only.
        """
        self.table = table = _with_both_classes(table)
        self.resampling = resampling
        self.orders = [
            RocOrder.of(scores, member, scored)
            for scores, member, scored in zip(table.scores, table.member, table.scored, strict=True)
        ]
        n = table.scores.shape[1]
        self.half: Bools = np.random.default_rng(resampling.seed).permutation(n) % 2 == 0
        self.exact = [Halves.of(order, np.ones((n, 1)), self.half) for order in self.orders]

    def draws(self, fprs: Sequence[float], fnrs: Sequence[float] = ()) -> tuple[dict[str, float], dict[str, Float64]]:
        """Point values and bootstrap draws of every membership metric, by name.

        Names: `auc`, `advantage`, for each `f` in `fprs`: `tpr_at_fpr_{f}`, `realised_fpr_at_fpr_{f}`, and for each
        `f` in `fnrs`: `tnr_at_fnr_{f}`; one that no target defines is left out. Draws (r',) are fewer than the
        resamples where some were dropped. Points rest on single records, draws on blocks of them (see `roc`): the same
        for rates at a rate, some 130 thresholds to choose from for the advantage, and for the AUC a difference that
        is added again as far as the point value has it.
        """
        merged = self._merged((max(fprs, default=0.0), max(fnrs, default=0.0)), quantiles=128)
        points = _by_name([_measures(Excerpts(h, h, h), fprs, fnrs) for h in self.exact])
        points = {name: values for name, values in points.items() if not np.isnan(values).all()}
        chunks = [
            _by_name([_measures(blocks.curves(weights), fprs, fnrs) for blocks in merged])
            for weights in record_weights(len(self.half), self.resampling)
        ]
        draws = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in points}  # each (r, t)
        draws["auc"] = self._shifted(draws["auc"], merged)
        shares = self._shares()
        return (
            {name: float(np.nanmean(values)) for name, values in points.items()},
            {name: _over_targets(values, shares) for name, values in draws.items()},
        )

    def auc(self) -> tuple[float, Float64]:
        """Point value and draws (r',) of the AUC, as in `draws`: for many resamples and no other metric."""
        merged = self._merged((0.0, 0.0), quantiles=128)
        chunks = [
            np.stack([_area(blocks.curves(weights).middle.whole) for blocks in merged], axis=1)
            for weights in record_weights(len(self.half), self.resampling)
        ]
        draws = self._shifted(np.concatenate(chunks), merged)
        return float(np.mean([h.whole.auc() for h in self.exact])), _over_targets(draws, self._shares())

    def per_target(
        self, weights: Weights, half: Bools, fprs: Sequence[float], fnrs: Sequence[float] = ()
    ) -> dict[str, Float64]:
        """Every metric for every repetition and target, on single records: float64 (r, t) by name, NaN where undefined.

        Args:
            weights: of the records, (n, r).
            half: bool (n,), the first half of the records, for the advantage.
            fprs: false positive rates.
            fnrs: false negative rates.
        """
        exact = [Halves.of(order, weights, half) for order in self.orders]
        return _by_name([_measures(Excerpts(h, h, h), fprs, fnrs) for h in exact])

    def roc(self, grid: Float64) -> tuple[Float64, Float64, Float64]:
        """Mean TPR over targets on `grid` of FPRs (g,), with the ends of its pointwise interval, each (g,).

        The mean rests on single records, the interval on blocks of them: the same up to an FPR of 0.05, and beyond
        moved by what the blocks take from the mean.
        """
        merged = self._merged((0.05, 0.0), quantiles=400)
        mean = np.mean([h.whole.tprs_at(grid) for h in self.exact], axis=0)
        points = [h.whole.at(b.ends).tprs_at(grid) for h, b in zip(self.exact, merged, strict=True)]
        left_out = mean - np.mean(points, axis=0)  # (g, 1)
        chunks = [
            np.stack([_tprs(blocks.whole(weights), grid) for blocks in merged], axis=2)
            for weights in record_weights(len(self.half), self.resampling)
        ]
        shares = self._shares()
        draws = np.stack([_over_targets(tprs, shares) for tprs in np.concatenate(chunks, axis=1)]) + left_out
        tails = [(1 - self.resampling.level) / 2, (1 + self.resampling.level) / 2]
        low, high = np.quantile(draws.clip(0, 1), tails, axis=1)
        mean = mean[:, 0]
        return mean, np.minimum(low, mean), np.maximum(high, mean)

    def _merged(self, rates: tuple[float, float], quantiles: int) -> list[Blocks]:
        return [
            Blocks.of(order, self.half, rates, halves.best(), quantiles)
            for order, halves in zip(self.orders, self.exact, strict=True)
        ]

    def _shifted(self, draws: Float64, merged: Sequence[Blocks]) -> Float64:
        """Draws (r, t) of the AUC with what merging took from each target's added again."""
        lost = [h.whole.auc() - h.whole.at(b.ends[b.middle]).auc() for h, b in zip(self.exact, merged, strict=True)]
        return np.clip(draws + np.transpose(lost), 0, 1)

    def _shares(self) -> Float64:
        """Weights of the models: (r, t)."""
        rng = generator(self.resampling.seed, "resample models")
        return model_weights(rng, self.resampling.resamples, self.table.targets)


def _with_both_classes(table: ScoreTable) -> ScoreTable:
    """The rows of `table` whose scored records are neither all members nor all non-members."""
    mixed = (table.scored & table.member).any(axis=1) & (table.scored & ~table.member).any(axis=1)
    if not mixed.any():
        raise NotApplicable("no target has both members and non-members among the records that the attack scored")
    return ScoreTable(table.targets[mixed], table.scores[mixed], table.member[mixed], table.scored[mixed])


def _over_targets(values: Float64, shares: Float64) -> Float64:
    """Mean over targets of `values` (r, t) by `shares` (r, t), without those that are NaN and rows with no others."""
    held = np.where(np.isnan(values), 0.0, shares)
    total = held.sum(axis=1)
    kept = total > 0
    return np.asarray((np.nan_to_num(values) * held).sum(axis=1)[kept] / total[kept])


def _area(curve: Curve) -> Float64:
    return np.where(curve.mixed(), curve.auc(), np.nan)


def _tprs(curve: Curve, grid: Float64) -> Float64:
    return np.where(curve.mixed(), curve.tprs_at(grid), np.nan)


def _by_name(targets: Sequence[Mapping[str, Float64]]) -> dict[str, Float64]:
    """Values (r,) by name of each target: (r, t) by name."""
    return {name: np.stack([found[name] for found in targets], axis=1) for name in targets[0]}


def _measures(curves: Excerpts, fprs: Sequence[float], fnrs: Sequence[float]) -> dict[str, Float64]:
    """Every metric of one target for every repetition: (r,) by name, NaN where its records are of one class."""
    high, middle, low = curves.high, curves.middle, curves.low
    found = {"auc": middle.whole.auc(), "advantage": split_advantage(middle.first, middle.second)}
    for fpr in fprs:
        found[f"tpr_at_fpr_{fpr:g}"] = high.whole.tpr_at(fpr)
        found[f"realised_fpr_at_fpr_{fpr:g}"] = crossed_fpr(high.first, high.second, fpr)
    for fnr in fnrs:
        found[f"tnr_at_fnr_{fnr:g}"] = low.whole.tnr_at(fnr)
    whole, halves = middle.whole.mixed(), middle.first.mixed() & middle.second.mixed()
    return {
        name: np.where(halves if name.startswith(ON_HALVES) else whole, values, np.nan)
        for name, values in found.items()
    }


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
    weight = weights.astype(np.float64)
    value, draws = crossed_draws(values, weight, targets, resampling)
    if unit == "records":
        low, high = share_interval(value, draws, resampling.level, int((weight > 0).any(axis=0).sum()))
    else:
        low, high = percentile_interval(value, draws, resampling.level)
    method = bootstrap_method(targets, values.shape[1], unit, resampling)
    return Estimate(value, low, high, resampling.level, method, values.shape[1], interval_over(targets, unit))


def crossed_draws(values: Float64, weight: Float64, targets: Ints, resampling: Resampling) -> tuple[float, Float64]:
    """Point value and bootstrap draws (resamples,) of `crossed_mean`; all arrays as there, `weight` in float64."""
    rng = generator(resampling.seed, "resample models")
    per_target = np.concatenate(
        [
            (units.T @ (values * weight).T) / np.maximum(units.T @ weight.T, _TINY)
            for units in record_weights(values.shape[1], resampling)
        ]
    )
    draws = (per_target * model_weights(rng, resampling.resamples, targets)).sum(axis=1)
    return float(((values * weight).sum(axis=1) / weight.sum(axis=1)).mean()), draws


def pair_variance(values: Float64, targets: Ints) -> float:
    """Variance of the mean of `values` (t,) as far as pairs of complementary models differ.

    The usual one of a mean with P - 1 degrees of freedom. That of `model_weights`' draws is (P - 1) / P of it.

    Args:
        values: float64 (t,), one for each target.
        targets: int64 (t,), model numbers of at least two pairs.
    """
    _, pair_of = np.unique(targets // 2, return_inverse=True)
    sums = np.bincount(pair_of, values - values.mean())
    pairs = len(sums)
    return float(pairs / (pairs - 1) * (sums**2).sum() / len(values) ** 2)


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
