"""The strongest of several membership attacks, with an interval that answers for having chosen it.

The best of K attacks on chance scores looks like a leak: with 1000 members and as many outsiders the mean of the
largest of 20 AUCs is 0.52. Two ways of choosing are free of that:

- `bonferroni`: every attack gets an interval at level 1 - alpha / K on all records; the one with the largest lower
  end is reported with that interval. Where each keeps its level, all K hold together with probability 1 - alpha,
  however the attacks depend on one another (Dunn 1961), so also the one that was chosen.
- `split`: the attack that is best on one half of the records is measured on the other half, at level 1 - alpha. The
  halves hold equal shares of the first target's members; records are split, models are not.

Bonferroni's interval is the narrower one up to about nine attacks and needs no more records than a single attack;
halves may be too small to state a rate at a low FPR.

A percentile interval of P resampled pairs of models is too narrow where P is small and models differ, most of all far
out in the tails, where a stricter level has its ends. So the part of it that stems from the pairs gets the quantile of
Student's t with P - 1 degrees of freedom in place of the normal one; the part that stems from records stays. With z
and t the two quantiles, h the distance of an end from the value and V the variance of the mean over pairs, the end
moves to a distance of sqrt(h^2 + (t^2 - z^2 (P - 1) / P) V): resampling has found (P - 1) / P of V. (A limit for a sum
of variance components that takes each with its own quantile, as Howe 1974, J. Am. Stat. Assoc. 69(345).)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .errors import NotApplicable
from .evidence import Strongest
from .metrics import compared_metrics, is_compared
from .seeds import generator
from .stats import CrossedStatistic, Resampling, pair_variance
from .types import Bools, Estimate, Float64, Ints, ScoreTable, Selection

_LEAST_BEYOND = 10  # resamples beyond each end of an interval; with two the tail is half as large again as it should be


def strongest(
    tables: Mapping[str, ScoreTable], fprs: Sequence[float], resampling: Resampling, selection: Selection
) -> dict[str, Strongest]:
    """The strongest attack by AUC and by each TPR that the sample can resolve, by the name of the metric.

    Args:
        tables: scores of each attack by its name, on the same targets.
        fprs: false positive rates.
        resampling: of the intervals; its level is that of the answer.
        selection: how the choice is answered for; see the module.
    """
    if not tables:
        return {}
    if selection == "bonferroni":
        return _at_a_stricter_level(tables, fprs, resampling)
    return _on_halves(tables, fprs, resampling)


def corrected(resampling: Resampling, attacks: int) -> Resampling:
    """Resampling at level 1 - alpha / attacks, with ten repetitions or more beyond each end."""
    tail = (1 - resampling.level) / attacks
    return replace(resampling, level=1 - tail, resamples=max(resampling.resamples, math.ceil(2 * _LEAST_BEYOND / tail)))


def _at_a_stricter_level(
    tables: Mapping[str, ScoreTable], fprs: Sequence[float], resampling: Resampling
) -> dict[str, Strongest]:
    strict = corrected(resampling, len(tables))
    words = f"largest lower end of {len(tables)} attacks, each at level 1 - {1 - resampling.level:.3g} / {len(tables)}"
    single = replace(strict, resamples=resampling.resamples)  # one target's intervals need no resampling
    found = {
        name: _measured(table, fprs, strict if len(table.targets) > 1 else single) for name, table in tables.items()
    }
    best = {}
    for metric in _in_order(found):
        asked = {name: metrics[metric] for name, metrics in found.items() if metric in metrics}
        attack = max(asked, key=lambda name, asked=asked: asked[name].low)  # type: ignore[misc]
        best[metric] = _stated(attack, asked, asked[attack], words)
    return best


def _on_halves(tables: Mapping[str, ScoreTable], fprs: Sequence[float], resampling: Resampling) -> dict[str, Strongest]:
    first = _first_half(tables, resampling.seed)
    points = {name: _points(table.part(first), fprs) for name, table in tables.items()}
    enough = corrected(resampling, 1)
    best: dict[str, Strongest] = {}
    measured: dict[str, dict[str, Estimate]] = {}
    for metric in _in_order(points):
        asked = {name: values[metric] for name, values in points.items() if metric in values}
        attack = max(asked, key=lambda name, asked=asked: asked[name])  # type: ignore[misc]
        if attack not in measured:
            measured[attack] = _measured(tables[attack].part(~first), fprs, enough)
        if metric in measured[attack]:
            words = f"best of {len(asked)} attacks on one half of the records, measured on the other half"
            best[metric] = _stated(attack, asked, measured[attack][metric], words)
    return best


def _stated(attack: str, asked: Mapping[str, object], estimate: Estimate, words: str) -> Strongest:
    return Strongest(attack=attack, of=tuple(asked), estimate=replace(estimate, method=f"{words}; {estimate.method}"))


def _measured(table: ScoreTable, fprs: Sequence[float], resampling: Resampling) -> dict[str, Estimate]:
    try:
        found = compared_metrics(table, fprs, resampling)
    except NotApplicable:  # no members or no outsiders among so few records
        return {}
    targets, values = _by_target(table, fprs)
    return {name: _for_few_pairs(estimate, values[name], targets) for name, estimate in found.items()}


def _for_few_pairs(estimate: Estimate, values: Float64, targets: Ints) -> Estimate:
    """The estimate of a share with ends that allow for few pairs of models; see the module.

    Args:
        estimate: the mean of `values`, with its percentile interval.
        values: float64 (t,), of each target.
        targets: int64 (t,), model numbers.
    """
    pairs = len(np.unique(targets // 2))
    if pairs < 2:
        return estimate
    from scipy.special import ndtri, stdtrit

    upper = (1 + estimate.level) / 2
    more = (stdtrit(pairs - 1, upper) ** 2 - ndtri(upper) ** 2 * (pairs - 1) / pairs) * pair_variance(values, targets)
    down, up = (math.hypot(end - estimate.value, math.sqrt(more)) for end in (estimate.low, estimate.high))
    low, high = max(0.0, estimate.value - down), min(1.0, estimate.value + up)
    method = f"{estimate.method}, the models' part by Student's t of {pairs} pairs"
    return replace(estimate, low=low, high=high, method=method)


def _points(table: ScoreTable, fprs: Sequence[float]) -> dict[str, float]:
    """Means over targets only: nothing is resampled."""
    try:
        _, values = _by_target(table, fprs)
    except NotApplicable:
        return {}
    return {name: float(found.mean()) for name, found in values.items()}


def _by_target(table: ScoreTable, fprs: Sequence[float]) -> tuple[Ints, dict[str, Float64]]:
    """The targets that have both classes, (t,), and by metric what each of them has, (t,).

    Raises:
        NotApplicable: there are none.
    """
    statistic = CrossedStatistic(table, Resampling())
    values = statistic.per_target(np.ones((table.scores.shape[1], 1)), statistic.half, fprs)
    return statistic.table.targets, {name: found[0] for name, found in values.items() if is_compared(name)}


def _in_order(found: Mapping[str, Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(metric for metrics in found.values() for metric in metrics))


def _first_half(tables: Mapping[str, ScoreTable], seed: int) -> Bools:
    """Half of the records, with half of the first target's members among them: bool (n,)."""
    member = next(iter(tables.values())).member[0]
    half = np.zeros(len(member), dtype=np.bool_)
    rng = generator(seed, "strongest", "halves")
    for side in (member, ~member):
        half[rng.permutation(np.flatnonzero(side))[::2]] = True
    return half
