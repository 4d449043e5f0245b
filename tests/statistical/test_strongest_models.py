"""The strongest of several attacks on few pairs of models that differ: false alarms stay at what is promised."""

import numpy as np
import pytest
from privassay.harness.metrics import membership_metrics
from privassay.harness.stats import Resampling
from privassay.harness.strongest import corrected, strongest
from privassay.harness.types import ScoreTable

ALPHA = 0.05
RESAMPLING = Resampling(1 - ALPHA, 200)


def attack(pairs, spread, rng, n=60):
    """An attack that is at chance on average: each pair of models leaks, or the reverse, by an effect of its own."""
    first = np.stack([rng.permutation(n) < n // 2 for _ in range(pairs)])
    member = np.stack([first, ~first], axis=1).reshape(-1, n)
    effect = np.repeat(rng.normal(0, spread, pairs), 2)[:, np.newaxis]
    return ScoreTable(
        np.arange(2 * pairs), rng.normal(size=member.shape) + effect * member, member, np.full_like(member, True)
    )


def worlds(pairs, attacks, spread, repetitions):
    for seed in range(repetitions):
        rng = np.random.default_rng([seed, pairs, attacks])
        yield {f"a{k}": attack(pairs, spread, rng) for k in range(attacks)}


def alarms(selection, world, repetitions):
    """Share of the repetitions whose strongest attack seems better than chance."""
    found = [
        strongest(tables, (), RESAMPLING, selection)["auc"].estimate.low > 0.5 for tables in worlds(*world, repetitions)
    ]
    return np.mean(found)


def plain_alarms(world, repetitions):
    """The same with percentile intervals at the corrected level and nothing for few pairs."""
    strict = corrected(RESAMPLING, world[1])
    return np.mean(
        [
            max(membership_metrics(table, (), strict)["auc"].low for table in tables.values()) > 0.5
            for tables in worlds(*world, repetitions)
        ]
    )


def allowed(repetitions):
    """Three standard deviations above half of alpha: an alarm is a matter of the lower end."""
    return ALPHA / 2 + 3 * np.sqrt(ALPHA / 2 * (1 - ALPHA / 2) / repetitions)


@pytest.mark.parametrize(
    ("selection", "world", "repetitions"),
    [
        ("bonferroni", (2, 1, 1.0), 150),
        ("bonferroni", (4, 5, 1.0), 20),
        ("bonferroni", (4, 1, 0.1), 60),
        ("split", (4, 1, 0.5), 60),
    ],
)
def test_false_alarms_stay_at_half_of_alpha(selection, world, repetitions):
    assert alarms(selection, world, repetitions) <= allowed(repetitions)


def test_percentile_intervals_would_fail_the_same_test():
    world, repetitions = (2, 1, 1.0), 150
    assert plain_alarms(world, repetitions) > allowed(repetitions)


def test_an_attack_that_works_on_every_model_is_still_found():
    found = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        tables = {f"a{k}": attack(8, 0.1, rng) for k in range(4)}
        strong = attack(8, 0.1, rng)
        tables["strong"] = ScoreTable(strong.targets, strong.scores + 0.8 * strong.member, strong.member, strong.scored)
        best = strongest(tables, (), RESAMPLING, "bonferroni")["auc"]
        found += best.attack == "strong" and best.estimate.low > 0.5
    assert found == 5


@pytest.mark.slow
@pytest.mark.parametrize("world", [(2, 1, 1.0), (4, 1, 1.0), (4, 5, 1.0), (8, 5, 1.0), (4, 5, 0.3), (4, 5, 0.0)])
def test_false_alarms_in_many_repetitions(world):
    assert alarms("bonferroni", world, 400) <= allowed(400)


@pytest.mark.slow
@pytest.mark.parametrize("world", [(4, 1, 1.0), (4, 5, 1.0)])
def test_percentile_intervals_in_many_repetitions(world):
    assert plain_alarms(world, 400) > allowed(400)
