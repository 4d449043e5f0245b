"""Scores to Estimates: what an attack achieved and what the model is good for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .stats import (
    CrossedStatistic,
    Resampling,
    bootstrap_method,
    crossed_mean,
    interval_over,
    percentile_interval,
    share_interval,
)
from .types import Bools, Estimate, Float64, Ints, ScoreTable

LEAST_FALSE_POSITIVES = 10
"""TPR at a FPR is stated only where that FPR stands for at least so many non-member records."""

_CURVE_RESAMPLES = 200
_HALVES = "threshold and estimate on separate halves of the records"


def membership_metrics(table: ScoreTable, fprs: Sequence[float], resampling: Resampling) -> dict[str, Estimate]:
    """AUC, advantage and, for each FPR that the sample can resolve, TPR and the realised FPR.

    Each is the mean over targets of the per-target value (own threshold for each target), with an interval over
    model pairs and records. `tpr_at_fpr_F` is the largest TPR with FPR <= F on the records at hand, whole tied blocks
    at a time: the field's convention, and a little generous to the attacker, because the threshold is set on the
    records that it is judged by. `realised_fpr_at_fpr_F` says what such a threshold costs on other records; a TPR is
    better than guessing only where it exceeds that. An FPR F is left out where (distinct non-member records) x F
    < 10: the number would rest on a handful of records.

    Args:
        table: scores of one attack.
        fprs: false positive rates between 0 and 1 (fractions, not percent).
        resampling: level, repetitions and seed of the bootstrap.
    """
    resolvable = [fpr for fpr in fprs if nonmember_records(table) * fpr >= LEAST_FALSE_POSITIVES]
    points, draws = CrossedStatistic(table, resampling).draws(resolvable)
    members = int((table.scored & table.member).any(axis=0).sum())
    records = int(table.scored.any(axis=0).sum())
    method = bootstrap_method(table.targets, records, "records", resampling)
    over = interval_over(table.targets, "records")
    estimates = {}
    for name, value in points.items():
        if name == "advantage":
            low, high = percentile_interval(value, draws[name], resampling.level)
        else:
            rests_on = nonmember_records(table) if name.startswith("realised") else members
            low, high = share_interval(value, draws[name], resampling.level, rests_on)
        words = f"{_HALVES}; {method}" if name.startswith(("advantage", "realised")) else method
        estimates[name] = Estimate(value, low, high, resampling.level, words, records, over)
    return estimates


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
