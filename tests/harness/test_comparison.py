from dataclasses import replace

import numpy as np
import pytest
from privassay.harness.comparison import paired_accuracy, paired_differences
from privassay.harness.errors import NotApplicable
from privassay.harness.metrics import membership_metrics
from privassay.harness.stats import Resampling
from privassay.harness.types import ScoreTable

QUICK = Resampling(resamples=400)
FPRS = (0.1,)


def world(gap, seed=0, targets=6, n=300, difficulty=2.0):
    """The same records twice: hard to tell apart by themselves, the second side leaks `gap` more."""
    rng = np.random.default_rng(seed)
    first = np.stack([rng.permutation(n) < n // 2 for _ in range(targets // 2)])
    member = np.stack([first, ~first], axis=1).reshape(-1, n)
    common = difficulty * rng.normal(size=n) + 0.3 * rng.normal(size=member.shape)
    asked = np.ones_like(member)

    def side(leak, noise_seed):
        noise = 0.1 * np.random.default_rng([seed, noise_seed]).normal(size=member.shape)
        return ScoreTable(np.arange(targets), common + leak * member + noise, member, asked)

    return side(0.5 + gap, 1), side(0.5, 2)


def test_the_value_is_the_difference_of_the_two_values():
    new, old = world(0.5)
    found = paired_differences(new, old, FPRS, QUICK)
    apart = [membership_metrics(table, FPRS, QUICK) for table in (new, old)]
    assert set(found) == {"auc", "advantage", "tpr_at_fpr_0.1"}
    for name, difference in found.items():
        assert difference.value == pytest.approx(apart[0][name].value - apart[1][name].value)
        assert difference.low <= difference.value <= difference.high


def test_a_table_less_itself_is_nothing_for_sure():
    table, _ = world(0.2)
    for difference in paired_differences(table, table, FPRS, QUICK).values():
        assert (difference.low, difference.value, difference.high) == (0, 0, 0)


def test_pairing_sees_what_two_intervals_do_not():
    new, old = world(0.12)
    one, other = (membership_metrics(table, FPRS, QUICK)["auc"] for table in (new, old))
    assert other.high > one.low  # side by side the two overlap
    assert paired_differences(new, old, FPRS, QUICK)["auc"].low > 0


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """Two sides that leak the same: 95 % of the intervals contain 0."""
    repetitions, held = 200, 0
    for seed in range(repetitions):
        new, old = world(0.0, seed=seed, targets=8, n=200)
        difference = paired_differences(new, old, (), Resampling(resamples=200))["auc"]
        held += difference.low <= 0 <= difference.high
    assert abs(held / repetitions - 0.95) < 3 * np.sqrt(0.95 * 0.05 / repetitions)


def test_unlike_tables_are_refused():
    new, old = world(0.1)
    for other in (
        replace(old, targets=old.targets + 2),
        replace(old, member=~old.member),
        replace(old, scored=np.zeros_like(old.scored)),
    ):
        with pytest.raises(NotApplicable, match="same targets and records"):
            paired_differences(new, other, FPRS, QUICK)


def test_accuracies_are_compared_on_the_records_that_are_asked_for():
    rng = np.random.default_rng(0)
    asked = rng.random((4, 500)) < 0.5
    baseline = rng.random((4, 500)) < 0.8
    worse = baseline & (rng.random((4, 500)) < 0.9)
    found = paired_accuracy((worse, baseline), asked, np.arange(4), QUICK)
    exact = np.mean([worse[t, asked[t]].mean() - baseline[t, asked[t]].mean() for t in range(4)])
    assert found.value == pytest.approx(exact)
    assert found.low < -0.08 < found.high < 0
    assert paired_accuracy((baseline, baseline), asked, np.arange(4), QUICK).high == 0
