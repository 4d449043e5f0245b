import numpy as np
import pytest
from privassay.harness.metrics import membership_metrics
from privassay.harness.stats import Resampling
from privassay.harness.strongest import corrected, strongest
from privassay.harness.types import ScoreTable
from scipy.stats import norm
from scipy.stats import t as student

FPRS = (0.1,)
QUICK = Resampling(resamples=200)


def table(gap, targets=4, n=300, seed=0, scored=None):
    """Scores N(gap, 1) of members, N(0, 1) of outsiders, targets in complementary pairs."""
    rng = np.random.default_rng(seed)
    first = np.stack([rng.permutation(n) < n // 2 for _ in range(max(1, targets // 2))])
    member = np.stack([first, ~first], axis=1).reshape(-1, n)[:targets]
    scores = rng.normal(size=member.shape) + gap * member
    return ScoreTable(np.arange(targets), scores, member, np.ones_like(member) if scored is None else scored)


def chance(attacks, n, seed):
    """So many attacks that only guess, on one target."""
    rng = np.random.default_rng(seed)
    member = (rng.permutation(n) < n // 2)[np.newaxis]
    one, asked = np.arange(1), np.ones_like(member)
    return {f"a{k}": ScoreTable(one, rng.normal(size=(1, n)), member, asked) for k in range(attacks)}


@pytest.mark.parametrize("selection", ["bonferroni", "split"])
def test_the_strongest_is_found_with_all_that_it_was_chosen_from(selection):
    tables = {"weak": table(0.2, seed=1), "strong": table(1.5, seed=2), "none": table(0.0, seed=3)}
    found = strongest(tables, FPRS, QUICK, selection)
    assert set(found) == {"auc", "tpr_at_fpr_0.1"}
    for best in found.values():
        assert best.attack == "strong"
        assert best.of == ("weak", "strong", "none")
    assert found["auc"].estimate.low < 0.856 < found["auc"].estimate.high  # Phi(1.5 / sqrt 2)


def test_bonferroni_is_the_attacks_own_interval_at_a_stricter_level():
    tables = {"a": table(0.5, 2, seed=1), "b": table(0.1, 2, seed=2), "c": table(0.2, 2, seed=3)}
    found = strongest(tables, FPRS, QUICK, "bonferroni")["auc"]
    strict = corrected(QUICK, 3)
    assert strict.level == pytest.approx(1 - 0.05 / 3)
    own = membership_metrics(tables["a"], FPRS, strict)["auc"]
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == (own.value, own.low, own.high)
    assert found.estimate.level == strict.level
    assert "3 attacks" in found.estimate.method
    plain = membership_metrics(tables["a"], FPRS, QUICK)["auc"]
    assert found.estimate.low < plain.low


def test_with_several_pairs_the_models_part_of_the_interval_gets_students_t():
    """By hand, for 3 pairs and 2 attacks: level 0.975, t of 2 degrees of freedom, the pairs' own means."""
    tables = {"a": table(1.0, 6, seed=1), "b": table(0.1, 6, seed=2)}
    found = strongest(tables, FPRS, QUICK, "bonferroni")["auc"].estimate
    own = membership_metrics(tables["a"], FPRS, corrected(QUICK, 2))["auc"]
    one = [auc(tables["a"], row) for row in range(6)]
    means = np.reshape(one, (3, 2)).mean(axis=1)
    variance = means.var(ddof=1) / 3
    t, z = student.ppf(0.9875, 2), norm.ppf(0.9875)
    reach = np.sqrt((own.value - own.low) ** 2 + (t**2 - z**2 * 2 / 3) * variance)
    assert found.value == own.value == pytest.approx(means.mean())
    assert found.low == pytest.approx(own.value - reach)
    assert found.high > own.high
    assert found.method.endswith("the models' part by Student's t of 3 pairs")


def auc(scores, row):
    inside, outside = scores.scores[row, scores.member[row]], scores.scores[row, ~scores.member[row]]
    return (inside[:, np.newaxis] > outside).mean()


def test_a_share_stays_between_0_and_1():
    found = strongest({"a": table(1.0, 4, n=120, seed=1)}, FPRS, QUICK, "bonferroni")
    for best in found.values():
        assert 0 <= best.estimate.low < best.estimate.value < best.estimate.high <= 1


def test_a_stricter_level_gets_the_resamples_that_its_ends_need():
    assert corrected(Resampling(0.95, 1000), 1) == Resampling(0.95, 1000)
    strict = corrected(Resampling(0.95, 100), 40)
    assert strict.resamples * (1 - strict.level) / 2 == pytest.approx(10)


def test_the_half_that_chooses_is_not_the_half_that_is_measured():
    """An attack that is right on the choosing half and guesses on the other one is found out."""
    tables = {"honest": table(0.8, targets=1, n=2000, seed=1)}
    probe = strongest(tables, FPRS, QUICK, "split")["auc"]
    assert probe.estimate.n == 1000
    from privassay.harness.strongest import _first_half  # the halves are no part of the interface

    half = _first_half(tables, QUICK.seed)
    member = tables["honest"].member
    assert half.sum() == 1000
    assert (half & member[0]).sum() == 500
    lucky = np.where(half, 10.0 * member, np.random.default_rng(5).normal(size=member.shape))
    both = {**tables, "lucky": ScoreTable(np.arange(1), lucky, member, np.ones_like(member))}
    found = strongest(both, FPRS, QUICK, "split")["auc"]
    assert found.attack == "lucky"
    assert found.estimate.low < 0.5 < found.estimate.high


def test_rates_that_a_half_cannot_resolve_are_left_out():
    tables = {"a": table(0.5, n=300)}
    assert "tpr_at_fpr_0.05" in strongest(tables, (0.05,), QUICK, "bonferroni")  # 300 x 0.05 = 15 outsiders
    assert "tpr_at_fpr_0.05" not in strongest(tables, (0.05,), QUICK, "split")  # 150 x 0.05


def test_attacks_that_answer_for_few_records_are_compared_by_what_they_have():
    scored = np.zeros((4, 300), dtype=bool)
    scored[:, :60] = True
    tables = {"all": table(0.3, seed=1), "few": table(2.5, seed=2, scored=scored)}
    assert strongest(tables, FPRS, QUICK, "bonferroni")["auc"].attack == "few"


def test_nothing_to_choose_from():
    assert strongest({}, FPRS, QUICK, "bonferroni") == strongest({}, FPRS, QUICK, "split") == {}


def false_alarms(selection, attacks, repetitions, n=400):
    """Share of repetitions whose strongest attack seems better than chance."""
    alarms = 0
    for seed in range(repetitions):
        found = strongest(chance(attacks, n, seed), (), Resampling(resamples=200), selection)
        alarms += found["auc"].estimate.low > 0.5
    return alarms / repetitions


def allowed(repetitions, alpha=0.05):
    """Three standard deviations above the promise: half of alpha, because an alarm is a matter of one end."""
    return alpha / 2 + 3 * np.sqrt(alpha / 2 * (1 - alpha / 2) / repetitions)


@pytest.mark.parametrize(("attacks", "repetitions"), [(1, 400), (5, 400), (20, 200)])
@pytest.mark.parametrize("selection", ["bonferroni", "split"])
def test_false_alarms_under_the_null_stay_at_alpha(selection, attacks, repetitions):
    assert false_alarms(selection, attacks, repetitions) <= allowed(repetitions)


def test_the_uncorrected_maximum_would_fail_the_same_test():
    """With 20 attacks at their own level, a false alarm is the rule: the simulation can tell."""
    alarms = 0
    for seed in range(40):
        tables = chance(20, 400, seed)
        alarms += any(membership_metrics(t, (), Resampling(resamples=200))["auc"].low > 0.5 for t in tables.values())
    assert alarms / 40 > 0.25


@pytest.mark.slow
@pytest.mark.parametrize("attacks", [1, 5, 20])
@pytest.mark.parametrize("selection", ["bonferroni", "split"])
def test_false_alarms_in_many_repetitions(selection, attacks):
    assert false_alarms(selection, attacks, 2000) <= allowed(2000)
