"""Two candidates, or two runs, compared on the same records and targets: far surer than two intervals side by side.

Records differ more than defences do. Both sides are resampled alike, so what they share drops out of the difference.
Where both answer alike on all but a few records, resampling sees little or nothing that could differ. There the
interval is united with an exact one that goes by the records on which the sides disagree, as McNemar's test does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import NotApplicable
from .intervals import clopper_pearson
from .metrics import member_records, nonmember_records, resolvable
from .stats import CrossedStatistic, Resampling, bootstrap_method, crossed_draws, interval_over, percentile_interval
from .types import Bools, Estimate, Float64, Ints, ScoreTable

_FEW = 10  # discordant records below which resampling is not trusted alone
_ROUNDING = 1e-9

Ends = tuple[float, float]


def paired_differences(
    table: ScoreTable, baseline: ScoreTable, fprs: Sequence[float], resampling: Resampling
) -> dict[str, Estimate]:
    """AUC, advantage and TPRs of `table` less those of `baseline`, by the metric's name; negative: leaks less.

    A FPR is left out where `metrics.membership_metrics` would leave it out. With fewer than ten discordant records the
    interval is united with an exact one: of a TPR by the members that one side only flags; of the AUC and the
    advantage by the members whose place among the non-members is not the same, where the difference is at most the
    share of such members (its upper Clopper-Pearson end among min(members, non-members) disjoint pairs).

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
    own, other = (CrossedStatistic(side, resampling) for side in (table, baseline))
    kept = resolvable(fprs, own.table.scored & ~own.table.member)
    (points, draws), (other_points, other_draws) = own.draws(kept), other.draws(kept)
    exact = _exact_by_metric(own.table, other.table, kept, resampling.level)
    n = int(table.scored.any(axis=0).sum())
    method = bootstrap_method(table.targets, n, "records", resampling)
    found = {}
    for name in (name for name in points if not name.startswith("realised")):
        value, moved = points[name] - other_points[name], draws[name] - other_draws[name]
        low, high, words = _ends(value, moved, resampling.level, exact[name])
        over = interval_over(table.targets, "records")
        found[name] = Estimate(value, low, high, resampling.level, f"{words}; {method}", n, over)
    return found


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
    exact = _exact_if_few(own, baseline, asked, resampling.level)
    low, high, words = _ends(value, draws, resampling.level, exact)
    n = values.shape[1]
    method = f"{words}; {bootstrap_method(targets, n, 'records', resampling)}"
    return Estimate(value, low, high, resampling.level, method, n, interval_over(targets, "records"))


def discordant_interval(gained: int, lost: int, n: int, level: float) -> Ends:
    """Exact interval of the difference of two shares of the same `n` independent records.

    The difference is d (2 g - 1): d is the share of discordant records, g the share of those in favour of the first
    side. Both have Clopper-Pearson intervals, each at 1 - alpha / 2, so both hold with probability `level` at least;
    g's says what McNemar's exact test says. Conservative: 0 of 200 gives plus and minus 0.022.

    Args:
        gained: records that count on the first side only.
        lost: records that count on the second side only.
        n: all records, at least 1.
        level: two-sided, between 0 and 1.
    """
    each = (1 + level) / 2
    share = clopper_pearson(gained + lost, n, each)
    least, most = -1.0, 1.0
    if gained + lost:
        favour = clopper_pearson(gained, gained + lost, each)
        least, most = 2 * favour.low - 1, 2 * favour.high - 1
    return least * (share.high if least < 0 else share.low), most * (share.high if most > 0 else share.low)


def _ends(value: float, draws: Float64, level: float, exact: Ends | None) -> tuple[float, float, str]:
    """Ends of the interval of a difference, and how they came about."""
    low, high = percentile_interval(value, draws, level)
    words = "difference, both sides resampled alike"
    if exact is None:
        return low, high, words
    return min(low, exact[0]), max(high, exact[1]), f"{words}, united with the exact interval of few discordant records"


def _exact_by_metric(
    table: ScoreTable, baseline: ScoreTable, fprs: Sequence[float], level: float
) -> dict[str, Ends | None]:
    """The exact interval of each metric's difference, None where enough members are discordant."""
    members = table.scored & table.member
    above, other_above = _outsiders_above(table), _outsiders_above(baseline)
    moved = _share((above != other_above).any(axis=2), members)
    pairs = min(member_records(table), nonmember_records(table))
    order = None
    if moved * member_records(table) < _FEW:
        reach = clopper_pearson(round(moved * pairs), pairs, level).high
        order = -reach, reach
    exact: dict[str, Ends | None] = {"auc": order, "advantage": order}
    outsiders = (table.scored & ~table.member).sum(axis=1, keepdims=True)
    for fpr in fprs:
        allowed = fpr * outsiders + _ROUNDING
        flagged, other_flagged = above[:, :, 0] <= allowed, other_above[:, :, 0] <= allowed
        exact[f"tpr_at_fpr_{fpr:g}"] = _exact_if_few(flagged, other_flagged, members, level)
    return exact


def _outsiders_above(table: ScoreTable) -> Ints:
    """Scored non-members of the target at or above each record, and strictly above it: int64 (t, n, 2).

    A threshold that flags a record flags the former too, so this is the least number of false positives it costs.
    """
    counts = np.empty((*table.scores.shape, 2), dtype=np.int64)
    for row, (scores, member, scored) in enumerate(zip(table.scores, table.member, table.scored, strict=True)):
        outside = np.sort(scores[scored & ~member])
        for column, side in enumerate(("left", "right")):
            counts[row, :, column] = len(outside) - np.searchsorted(outside, scores, side=side)  # type: ignore[call-overload]
    return counts


def _exact_if_few(own: Bools, baseline: Bools, asked: Bools, level: float) -> Ends | None:
    """The exact interval of the share of `asked` records that count, own less baseline; all bool (t, n).

    As for other shares, the mean over targets is taken as a share of as many independent records as are asked for.
    """
    n = int(asked.any(axis=0).sum())
    gained, lost = (_share(only, asked) * n for only in (own & ~baseline, baseline & ~own))
    if gained + lost >= _FEW:
        return None
    return discordant_interval(round(gained), round(lost), n, level)


def _share(counts: Bools, asked: Bools) -> float:
    """Mean over targets of the share of the `asked` records (t, n) that count."""
    return float(((counts & asked).sum(axis=1) / asked.sum(axis=1)).mean())
