"""The interval over models and records must hold the truth, and a naive one must be seen not to."""

import numpy as np
from privassay.harness.stats import CrossedStatistic, Resampling, percentile_interval
from privassay.harness.types import ScoreTable
from scipy.stats import binom, norm

REPETITIONS = 200
LEVEL = 0.95


def simulate(shift, seed, targets=16, n=80):
    """Scores of paired halves: a hardness shared by all targets, a member effect, noise."""
    rng = np.random.default_rng(seed)
    member = np.empty((targets, n), bool)
    for pair in range(targets // 2):
        member[2 * pair] = rng.permutation(n) < n // 2
        member[2 * pair + 1] = ~member[2 * pair]
    effect = shift * (1 + rng.normal(size=n))  # some records are far more exposed than others
    scores = rng.normal(size=n) + rng.normal(size=(targets, n)) + effect * member
    return ScoreTable(np.arange(targets), scores, member, np.ones((targets, n), bool))


def true_auc(shift):
    # member - non-member of two records: mean shift, variance 4 of noise and hardness plus shift^2 of the effect
    return norm.cdf(shift / np.sqrt(4 + shift**2))


def interval(table, seed):
    points, draws = CrossedStatistic(table, Resampling(LEVEL, 200, seed)).draws([])
    return percentile_interval(points["auc"], draws["auc"], LEVEL)


def test_false_alarms_on_chance_scores_are_at_most_nominal():
    alarms = sum(interval(simulate(0.0, seed), seed)[0] > 0.5 for seed in range(REPETITIONS))
    assert alarms <= binom.ppf(0.999, REPETITIONS, (1 - LEVEL) / 2)


def test_the_truth_is_covered():
    truth = true_auc(1.0)
    covered = sum(low <= truth <= high for low, high in (interval(simulate(1.0, s), s) for s in range(REPETITIONS)))
    assert covered >= binom.ppf(0.001, REPETITIONS, LEVEL)


def test_an_interval_over_models_alone_is_rejected():
    # The near miss: forget that the same records face every target. Its intervals miss the truth far too often.
    truth, covered = true_auc(1.0), 0
    for seed in range(REPETITIONS):
        table = simulate(1.0, seed)
        statistic = CrossedStatistic(table, Resampling(resamples=1))
        n = table.scores.shape[1]
        aucs = statistic.per_target(np.ones((n, 1)), np.ones(n, bool), [])["auc"][0]
        spread = 1.96 * aucs.std(ddof=1) / np.sqrt(len(aucs))
        covered += abs(aucs.mean() - truth) <= spread
    assert covered < binom.ppf(0.001, REPETITIONS, LEVEL)
