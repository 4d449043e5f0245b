"""The interval over models and records must hold the truth, and a naive one must be seen not to."""

import numpy as np
import pytest
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


def few_scored(k, seed):
    """Chance scores of which each target's attack gave `k` only."""
    whole, rng = simulate(0.0, seed, targets=8), np.random.default_rng(seed)
    scored = np.argsort(rng.random(whole.scores.shape), axis=1) < k
    return ScoreTable(whole.targets, whole.scores, whole.member, scored)


@pytest.mark.parametrize("k", [4, 10, 20])
def test_chance_scores_of_few_records_are_at_chance(k):
    # The near miss: a sample of members only counts as AUC 0, and so does a resample. Mean 0.457 and 0.305 at k = 4.
    points, middles, covered = [], [], 0
    for seed in range(100):
        point, draws = CrossedStatistic(few_scored(k, seed), Resampling(LEVEL, 200, seed)).auc()
        low, high = percentile_interval(point, draws, LEVEL)
        covered += low <= 0.5 <= high
        points.append(point)
        middles.append(draws.mean())
    for means in (points, middles):
        assert abs(np.mean(means) - 0.5) < 3.5 * np.std(means) / np.sqrt(len(means))
    assert np.std(points) < 0.2
    assert covered >= binom.ppf(0.001, 100, LEVEL)


@pytest.mark.parametrize("k", [4, 10, 20])
def test_a_perfect_attack_on_few_records_stays_perfect(k):
    chance = few_scored(k, 0)
    perfect = ScoreTable(chance.targets, chance.member.astype(float), chance.member, chance.scored)
    point, draws = CrossedStatistic(perfect, Resampling(LEVEL, 200)).auc()
    assert point == 1.0
    assert np.allclose(draws, 1.0)


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
