"""Scores to Estimates: what an attack achieved and what the model is good for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .intervals import clopper_pearson, delong
from .stats import (
    ON_HALVES,
    CrossedStatistic,
    Resampling,
    bootstrap_method,
    crossed_draws,
    crossed_mean,
    interval_over,
    percentile_interval,
    share_interval,
)
from .types import Bools, Estimate, Float64, Ints, ScoreTable

LEAST_FALSE_POSITIVES = 10
"""A rate at a FPR (FNR) is stated only where that stands for at least so many non-member (member) records."""

_CURVE_RESAMPLES = 200
_BAYES = "1 - advantage (Bayes security)"
_HALVES = "threshold and estimate on separate halves of the records"


def membership_metrics(table: ScoreTable, fprs: Sequence[float], resampling: Resampling) -> dict[str, Estimate]:
    """AUC, advantage, Bayes security and, for each rate that the sample can resolve, TPR and realised FPR, and TNR.

    Each is the mean over targets of the per-target value (own threshold for each target), with an interval over
    model pairs and records. Where there is one target, the interval is over its records: DeLong for the AUC,
    Clopper-Pearson for the rates. `tpr_at_fpr_F` is the largest TPR with FPR <= F on the records at hand, whole tied
    blocks at a time: the field's convention, and a little generous to the attacker, because the threshold is set on
    the records that it is judged by. `realised_fpr_at_fpr_F` says what such a threshold costs on other records; a TPR
    is better than guessing only where it exceeds that. An FPR F is left out where (distinct non-member records) x F
    < 10, or (non-member records of one target) x F < 1: the number would rest on a handful of records.

    `tnr_at_fnr_F` is the same at the other end: the largest share of non-members that may be cleared when at most a
    share F of the members is missed, left out where (distinct member records) x F < 10. Of the loss attack it is a
    tripwire that needs no reference model: it goes with the TPR that LiRA finds at a low FPR (arXiv 2510.19773,
    abstract). Its threshold too is set on the records that it is judged by.

    Args:
        table: scores of one attack.
        fprs: rates between 0 and 1 (fractions, not percent), false positive and false negative alike.
        resampling: level, repetitions and seed of the bootstrap.

    Raises:
        NotApplicable: no target has both members and non-members among its scored records. A target that has not, where
            others have, is left out.
    """
    statistic = CrossedStatistic(table, resampling)
    asked = statistic.table
    flagged = resolvable(fprs, asked.scored & ~asked.member)
    missed = resolvable(fprs, asked.scored & asked.member)
    points, draws = statistic.draws(flagged, missed)
    found = {name: _estimate(name, value, draws[name], statistic) for name, value in points.items()}
    if "advantage" in found:
        found["bayes_security"] = _bayes_security(found["advantage"])
    return found


def compared_metrics(table: ScoreTable, fprs: Sequence[float], resampling: Resampling) -> dict[str, Estimate]:
    """AUC and TPRs of `membership_metrics`, by which attacks are compared; of one target nothing is resampled.

    Raises:
        NotApplicable: as `membership_metrics`.
    """
    statistic = CrossedStatistic(table, resampling)
    asked = statistic.table
    if len(asked.targets) > 1:
        found = membership_metrics(table, fprs, resampling)
        return {name: estimate for name, estimate in found.items() if is_compared(name)}
    rates = resolvable(fprs, asked.scored & ~asked.member)
    values = statistic.per_target(np.ones((asked.scores.shape[1], 1)), statistic.half, rates)
    level = resampling.level
    return {name: _of_one_target(name, float(v[0, 0]), asked, level) for name, v in values.items() if is_compared(name)}


def is_compared(metric: str) -> bool:
    """Whether attacks are compared by a metric."""
    return metric == "auc" or metric.startswith("tpr_at_fpr_")


def auc_metric(table: ScoreTable, resampling: Resampling) -> Estimate:
    """`auc` of `membership_metrics` alone, for intervals that need many resamples.

    Raises:
        NotApplicable: as `membership_metrics`.
    """
    statistic = CrossedStatistic(table, resampling)
    return _estimate("auc", *statistic.auc(), statistic)


def _estimate(name: str, value: float, draws: Float64, statistic: CrossedStatistic) -> Estimate:
    """A membership metric with its interval and how that was made."""
    table, resampling = statistic.table, statistic.resampling
    if len(table.targets) == 1 and name != "advantage":
        return _of_one_target(name, value, table, resampling.level)
    if name == "advantage":
        low, high = percentile_interval(value, draws, resampling.level)
    else:
        low, high = share_interval(value, draws, resampling.level, _rests_on(name, table))
    records = int(table.scored.any(axis=0).sum())
    method = bootstrap_method(table.targets, records, "records", resampling)
    words = f"{_HALVES}; {method}" if name.startswith(ON_HALVES) else method
    return Estimate(value, low, high, resampling.level, words, records, interval_over(table.targets, "records"))


def _of_one_target(name: str, value: float, table: ScoreTable, level: float) -> Estimate:
    """A membership metric of the only target, with an interval over records that resamples nothing.

    AUC: DeLong. TPR: Clopper-Pearson of the members; it depends on the threshold, and that on the non-members only, so
    the interval is exact for this threshold. TNR: the same, mirrored. Realised FPR: as of half of the non-members.
    With all of them the 95 % interval would hold the mean FPR of the two halves' thresholds in 96 % of the runs, but
    that of the threshold set on all records, which the TPR belongs to, in 91 % only.
    """
    if name == "auc":
        scored = table.scored[0]
        found = delong(table.scores[0][scored], table.member[0][scored], level)
        return replace(found, method=f"one target model; {found.method}")
    counted, words = _rests_on(name, table), "Clopper-Pearson"
    if name.startswith("realised"):
        counted, words = max(1, counted // 2), f"{_HALVES}; Clopper-Pearson of one half's non-members"
    exact = clopper_pearson(round(value * counted), counted, level)
    low, high = min(exact.low, value), max(exact.high, value)  # the mean of two halves need not be a whole count
    return Estimate(value, low, high, level, f"one target model; {words}", counted, "records")


def _bayes_security(advantage: Estimate) -> Estimate:
    """1 - advantage (Chatzikokolakis et al. 2023, CSF), the interval mirrored; of this attack's rule.

    The best possible attack defines it, so this is an upper bound but for chance. Above 1 where the advantage, which
    is not the maximum on the same records, comes out negative.
    """
    value, low, high = (1 - end for end in (advantage.value, advantage.high, advantage.low))
    return replace(advantage, value=value, low=low, high=high, method=f"{_BAYES}; {advantage.method}")


def _rests_on(name: str, table: ScoreTable) -> int:
    """Distinct records whose share the metric is."""
    return nonmember_records(table) if name.startswith(("realised", "tnr")) else member_records(table)


def resolvable(rates: Sequence[float], counted: Bools) -> list[float]:
    """Rates that stand for enough records to be stated, in the order given.

    A rate F is kept where (distinct counted records) x F is at least `LEAST_FALSE_POSITIVES` and (counted records of
    each target) x F is at least 1.

    Args:
        rates: between 0 and 1.
        counted: bool (t, n), with at least one target: the records that each target's rate is a share of,
            non-members for a FPR and members for a FNR.
    """
    distinct, fewest = counted.any(axis=0).sum(), counted.sum(axis=1).min()
    return [rate for rate in rates if distinct * rate >= LEAST_FALSE_POSITIVES and fewest * rate >= 1]


def too_few_nonmembers(table: ScoreTable, rate: float, whom: str) -> str:
    """What a FPR that `resolvable` leaves out would need, in words; `whom` are the non-members."""
    distinct, least = nonmember_records(table), math.ceil(LEAST_FALSE_POSITIVES / rate * (1 - 1e-9))
    if distinct < least:
        return f"needs {least:,} {whom}, there are {distinct:,}"
    return f"needs {math.ceil(1 / rate * (1 - 1e-9)):,} {whom} of each target model"


def member_records(table: ScoreTable) -> int:
    """Distinct records that some target was asked about and had trained on."""
    return int((table.scored & table.member).any(axis=0).sum())


def nonmember_records(table: ScoreTable) -> int:
    """Distinct records that some target was asked about and had not trained on."""
    return int((table.scored & ~table.member).any(axis=0).sum())


def roc_curve(table: ScoreTable, resampling: Resampling) -> dict[str, list[float]]:
    """Mean ROC over targets with a pointwise interval, on a logarithmic grid of FPRs from 0.001 to 1."""
    grid = np.logspace(-3, 0, 46)
    mean, low, high = CrossedStatistic(table, replace(resampling, resamples=_CURVE_RESAMPLES)).roc(grid)
    columns = {"fpr": grid, "tpr": mean, "low": low, "high": high}
    return {name: [round(float(v), 6) for v in values] for name, values in columns.items()}


def utility_metrics(correct: Bools, member: Bools, targets: Ints, resampling: Resampling) -> dict[str, Estimate]:
    """Accuracy on the records each model trained on and on the pool's other half.

    Args:
        correct: bool (t, n), whether the deployed target t labels record j correctly.
        member: bool (t, n), who trained on what.
        targets: int64 (t,), model numbers.
        resampling: level, repetitions and seed of the bootstrap.
    """
    values: Float64 = correct.astype(np.float64)
    return {
        "train_accuracy": crossed_mean(values, member, targets, resampling),
        "heldout_accuracy": crossed_mean(values, ~member, targets, resampling),
    }


def explained(answers: Float64, wanted: Ints, grid: Float64, counted: Bools | None = None) -> Float64:
    """What one model's answers explain of each record's number: 1 - squared error / variance, float64 (n,), at most 1.

    The answer to a record is the mean of the distribution that was answered, so that every defence that changes
    answers is judged as deployed. Of a regressor alone it is f(x) itself, but near the ends of the grid, where part of
    the distribution is cut off. The variance is that of the numbers of the counted records. The mean over these is R^2.

    Args:
        answers: float64 (n, k), distributions over the grid.
        wanted: int64 (n,), index of each record's number.
        grid: float64 (k,).
        counted: bool (n,), records whose numbers the variance is taken over, those that R^2 is about; None for all.
    """
    numbers = grid[wanted]
    spread = float((numbers if counted is None else numbers[counted]).var())
    least = (1e-6 * (grid[-1] - grid[0])) ** 2  # finite where all numbers are equal
    return np.asarray(1 - (answers @ grid - numbers) ** 2 / max(spread, least))


def regression_metrics(values: Float64, member: Bools, targets: Ints, resampling: Resampling) -> dict[str, Estimate]:
    """R^2 on the records each model trained on and on the pool's other half, from `explained` (t, n).

    Other arguments as for `utility_metrics`. At most 1; below 0 where the mean of all numbers would be a better answer.
    """
    return {
        "train_r2": crossed_r2(values, member, targets, resampling),
        "heldout_r2": crossed_r2(values, ~member, targets, resampling),
    }


def crossed_r2(values: Float64, asked: Bools, targets: Ints, resampling: Resampling) -> Estimate:
    """Mean over targets of the mean over the `asked` (t, n) records of `explained`, or of a difference of two of them.

    With the crossed bootstrap, both sides of a difference resampled alike; the variance that errors are set against
    stays as it is.
    """
    value, draws = crossed_draws(values, asked.astype(np.float64), targets, resampling)
    low, high = percentile_interval(value, draws, resampling.level)
    n = values.shape[1]
    method = bootstrap_method(targets, n, "records", resampling)
    return Estimate(value, low, high, resampling.level, method, n, interval_over(targets, "records"))
