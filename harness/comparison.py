"""Two candidates, or two runs, compared on the same records and targets: far surer than two intervals side by side.

Records differ more than defences do. Both sides are resampled alike, so what they share drops out of the difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import NotApplicable
from .stats import CrossedStatistic, Resampling, bootstrap_method, crossed_draws, interval_over, percentile_interval
from .types import Bools, Estimate, Float64, Ints, ScoreTable


def paired_differences(
    table: ScoreTable, baseline: ScoreTable, fprs: Sequence[float], resampling: Resampling
) -> dict[str, Estimate]:
    """AUC, advantage and TPRs of `table` less those of `baseline`, by the metric's name; negative: leaks less.

    Args:
        table: scores of an attack on one candidate.
        baseline: scores of the same attack on another, for the same targets, memberships and records.
        fprs: false positive rates; of both sides the mean TPR is compared, each at its own thresholds.
        resampling: of the interval.

    Raises:
        NotApplicable: the tables are not about the same targets and records.
    """
    same = (
        np.array_equal(table.targets, baseline.targets)
        and np.array_equal(table.member, baseline.member)
        and np.array_equal(table.scored, baseline.scored)
    )
    if not same:
        raise NotApplicable("the two were not attacked on the same targets and records")
    (points, draws), (other_points, other_draws) = (
        CrossedStatistic(side, resampling).draws(fprs) for side in (table, baseline)
    )
    n = int(table.scored.any(axis=0).sum())
    return {
        name: _difference(
            points[name] - other_points[name], draws[name] - other_draws[name], table.targets, n, resampling
        )
        for name in points
        if not name.startswith("realised")
    }


def paired_accuracy(correct: tuple[Bools, Bools], asked: Bools, targets: Ints, resampling: Resampling) -> Estimate:
    """Accuracy less that of the baseline: mean over targets of the mean over the `asked` records.

    Args:
        correct: of both sides, baseline second, bool (t, n): whether target t labels record j correctly.
        asked: bool (t, n), which records count for which target.
        targets: int64 (t,), model numbers.
        resampling: of the interval.
    """
    own, baseline = correct
    values: Float64 = own.astype(np.float64) - baseline
    value, draws = crossed_draws(values, asked.astype(np.float64), targets, resampling)
    return _difference(value, draws, targets, values.shape[1], resampling)


def _difference(value: float, draws: Float64, targets: Ints, n: int, resampling: Resampling) -> Estimate:
    low, high = percentile_interval(value, draws, resampling.level)
    method = f"difference, both sides resampled alike; {bootstrap_method(targets, n, 'records', resampling)}"
    return Estimate(value, low, high, resampling.level, method, n, interval_over(targets, "records"))
