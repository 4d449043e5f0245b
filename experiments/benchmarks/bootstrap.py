"""The crossed bootstrap on blocks of records against the one on single records.

`python -m privassay.experiments.benchmarks.bootstrap [--attacks 15] [--records 4010]` prints JSON: seconds (wall clock
and this process's own) of the intervals of all attacks on blocks, of one attack on single records (as it was done
before there were blocks), of the ROC curves, and how far the two ways' intervals lie apart on the same resamples; and
of the bootstrap of AUC and TPR at two FPRs over 20,000 scores of one target.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence

import numpy as np

from ...harness.intervals import clopper_pearson
from ...harness.metrics import membership_metrics, roc_curve
from ...harness.seeds import generator
from ...harness.stats import CrossedStatistic, Resampling, model_weights, record_weights
from ...harness.types import Float64, ScoreTable

RATES = (0.01,)
TWO_RATES = (0.001, 0.01)
MANY = 20_000
_TOGETHER = 250  # resamples that the exact way holds at once


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attacks", type=int, default=15)
    parser.add_argument("--targets", type=int, default=16)
    parser.add_argument("--records", type=int, default=4010)
    parser.add_argument("--resamples", type=int, default=1000)
    chosen = parser.parse_args(arguments)
    resampling = Resampling(resamples=chosen.resamples)
    tables = [scores(chosen.targets, chosen.records, seed) for seed in range(chosen.attacks)]

    membership_metrics(scores(2, 100, 0), RATES, resampling)  # imports scipy, about a second
    clopper_pearson(1, 100, resampling.level)
    blocks = seconds(lambda: [membership_metrics(table, RATES, resampling) for table in tables])
    curves = seconds(lambda: [roc_curve(table, resampling) for table in tables])
    singly: dict[str, Float64] = {}
    single = seconds(lambda: singly.update(exact_draws(CrossedStatistic(tables[0], resampling))))
    drawing = seconds(lambda: draw_as_before(chosen.records, chosen.resamples))
    many = one_target(MANY)
    one = seconds(lambda: CrossedStatistic(many, resampling).draws(TWO_RATES))
    _, draws = CrossedStatistic(tables[0], resampling).draws(RATES, RATES)
    print(
        json.dumps(
            {
                **vars(chosen),
                "load": os.getloadavg(),
                "all_attacks_on_blocks_s": blocks,
                "all_curves_on_blocks_s": curves,
                "one_attack_on_single_records_s": single,
                "one_target_of_20000_scores_s": one,
                "multinomial_draw_of_each_attack_before_s": drawing,
                "difference": {name: compared(draws[name], exact) for name, exact in singly.items()},
            },
            indent=1,
        )
    )


def scores(targets: int, n: int, seed: int) -> ScoreTable:
    """Scores of paired halves: a hardness shared by all targets, an effect of membership that varies, noise."""
    rng = np.random.default_rng(seed)
    firsts = [rng.permutation(n) < n // 2 for _ in range(targets // 2)]
    member = np.stack([side for first in firsts for side in (first, ~first)])
    effect = 0.2 * seed * (1 + rng.normal(size=n))
    values = rng.normal(size=n) + rng.normal(size=member.shape) + effect * member
    return ScoreTable(np.arange(len(member)), values, member, np.ones_like(member))


def one_target(n: int) -> ScoreTable:
    """Scores of one target only."""
    pair = scores(2, n, 3)
    return ScoreTable(pair.targets[:1], pair.scores[:1], pair.member[:1], pair.scored[:1])


def exact_draws(statistic: CrossedStatistic) -> dict[str, Float64]:
    """Draws on single records, from the same resamples."""
    parts: dict[str, list[Float64]] = {}
    for weights in record_weights(len(statistic.half), statistic.resampling):
        for start in range(0, weights.shape[1], _TOGETHER):
            chunk = weights[:, start : start + _TOGETHER].astype(np.float32)
            for name, values in statistic.per_target(chunk, statistic.half, RATES, RATES).items():
                parts.setdefault(name, []).append(values)
    rng = generator(statistic.resampling.seed, "resample models")
    shares = model_weights(rng, statistic.resampling.resamples, statistic.table.targets)
    return {name: (np.concatenate(values) * shares).sum(axis=1) for name, values in parts.items()}


def draw_as_before(n: int, resamples: int) -> None:
    """Multinomial counts of all records, which each attack used to draw for itself."""
    np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=resamples)


def compared(found: Float64, exact: Float64) -> dict[str, float]:
    """How far two ways lie apart: ends of the 95 % interval, and a draw at the most; with the interval's width."""
    low, high = np.quantile(found, [0.025, 0.975]) - np.quantile(exact, [0.025, 0.975])
    width = float(np.ptp(np.quantile(exact, [0.025, 0.975])))
    return {"low": float(low), "high": float(high), "draw": float(np.abs(found - exact).max()), "width": width}


def seconds(work: Callable[[], object]) -> dict[str, float]:
    """Wall clock and own processor time of `work`."""
    wall, own = time.perf_counter(), time.process_time()
    work()
    return {"wall": round(time.perf_counter() - wall, 3), "processor": round(time.process_time() - own, 3)}


if __name__ == "__main__":
    main()
