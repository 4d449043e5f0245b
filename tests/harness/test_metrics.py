"""Scores to Estimates: which metrics are stated, and what they say of known scores."""

import numpy as np
import pytest
from privassay.harness.errors import NotApplicable
from privassay.harness.intervals import clopper_pearson, delong, tpr_at_fpr
from privassay.harness.metrics import (
    auc_metric,
    compared_metrics,
    explained,
    membership_metrics,
    nonmember_records,
    roc_curve,
    utility_metrics,
)
from privassay.harness.stats import Resampling
from privassay.harness.types import ScoreTable

QUICK = Resampling(resamples=100)


def table(n=400, targets=4, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    member = np.empty((targets, n), bool)
    for pair in range(targets // 2):
        member[2 * pair] = rng.permutation(n) < n // 2
        member[2 * pair + 1] = ~member[2 * pair]
    scores = rng.normal(size=(targets, n)) + shift * member
    return ScoreTable(np.arange(targets), scores, member, np.ones((targets, n), bool))


@pytest.mark.parametrize(("n", "stated"), [(998, False), (1000, True)])
def test_tpr_is_stated_only_where_ten_records_stand_for_the_fpr(n, stated):
    found = membership_metrics(table(n), (0.01,), QUICK)
    assert ("tpr_at_fpr_0.01" in found) == stated
    assert ("realised_fpr_at_fpr_0.01" in found) == stated


@pytest.mark.parametrize(("members", "stated"), [(99, False), (100, True)])
def test_tnr_is_stated_only_where_ten_members_stand_for_the_fnr(members, stated):
    scored = table(400)
    scored.member[:] = np.arange(400) < members
    found = membership_metrics(scored, (0.1,), QUICK)
    assert ("tnr_at_fnr_0.1" in found) == stated
    assert "tpr_at_fpr_0.1" in found


def test_tnr_tells_how_many_outsiders_are_cleared():
    assert membership_metrics(table(2000), (0.1,), QUICK)["tnr_at_fnr_0.1"].value == pytest.approx(0.1, abs=0.02)
    found = membership_metrics(table(2000, shift=1.0), (0.1,), QUICK)["tnr_at_fnr_0.1"]
    assert found.low < 0.389 < found.high  # Phi(1 + Phi^-1(0.1))


def test_records_that_are_members_everywhere_do_not_count():
    scored = table(100)
    scored.member[:, :40] = True
    assert nonmember_records(scored) == 60


def test_perfect_attack():
    found = membership_metrics(table(shift=50), (0.1,), QUICK)
    assert found["auc"].value == found["tpr_at_fpr_0.1"].value == found["tnr_at_fnr_0.1"].value == 1.0
    assert found["auc"].low > 0.98
    assert found["auc"].low < 1.0  # a perfect score on a sample is not certainty
    assert found["advantage"].value > 0.95


def test_a_target_with_one_class_is_left_out_and_not_counted():
    scored = table(shift=50)
    scored.scored[1] = scored.member[1]
    scored.scored[2, 100:] = False
    found = membership_metrics(scored, (), QUICK)["auc"]
    without = np.array([True, False, True, True])
    expected = ScoreTable(*(getattr(scored, name)[without] for name in ("targets", "scores", "member", "scored")))
    assert found == membership_metrics(expected, (), QUICK)["auc"]
    assert found.value == 1.0
    assert "mean over 3 target models" in found.method


@pytest.mark.parametrize("metrics", [lambda t: membership_metrics(t, (), QUICK), lambda t: auc_metric(t, QUICK)])
def test_no_target_with_both_classes_has_no_metrics(metrics):
    scored = table()
    scored.scored[:] = scored.member
    with pytest.raises(NotApplicable, match="no target has both members and non-members"):
        metrics(scored)


def test_advantage_needs_both_classes_in_both_halves():
    scored = table(targets=2)
    scored.scored[:] = False
    for target, member in enumerate(scored.member):
        scored.scored[target, [member.argmax(), member.argmin()]] = True  # two records: each half has one class at most
    assert list(membership_metrics(scored, (), QUICK)) == ["auc"]


def test_auc_alone_is_that_among_all_metrics():
    scored = table(shift=0.5)
    assert auc_metric(scored, QUICK) == membership_metrics(scored, (0.1,), QUICK)["auc"]


def one_target(n=400, shift=0.5, seed=0):
    pair = table(n, 2, shift, seed)
    return ScoreTable(pair.targets[:1], pair.scores[:1], pair.member[:1], pair.scored[:1])


def test_one_target_has_intervals_of_its_records():
    scored = one_target()
    found = membership_metrics(scored, (0.1,), QUICK)
    scores, member = scored.scores[0], scored.member[0]
    rates, mirrored = tpr_at_fpr(scores, member, 0.1, 0.95), tpr_at_fpr(-scores, ~member, 0.1, 0.95)
    for name, expected in [
        ("auc", delong(scores, member, 0.95)),
        ("tpr_at_fpr_0.1", rates.tpr),
        ("tnr_at_fnr_0.1", mirrored.tpr),
    ]:
        assert (found[name].low, found[name].high) == (expected.low, expected.high)
        assert found[name].value == pytest.approx(expected.value)
        assert found[name].method == f"one target model; {expected.method}"
        assert found[name].over == "records"
    assert found["auc"] == auc_metric(scored, QUICK)
    realised = found["realised_fpr_at_fpr_0.1"]
    exact = clopper_pearson(round(100 * realised.value), 100, 0.95)  # 100 non-members in either half
    assert (realised.low, realised.high, realised.n) == (exact.low, exact.high, 100)
    assert "percentile bootstrap" in found["advantage"].method


def test_one_target_is_judged_by_the_records_that_were_scored():
    scored = one_target()
    scored.scored[0, 300:] = False
    scored.scores[0, 300:] = 100.0
    found = membership_metrics(scored, (0.1,), QUICK)
    assert found["auc"] == auc_metric(
        ScoreTable(scored.targets, *(getattr(scored, name)[:, :300] for name in ("scores", "member", "scored"))), QUICK
    )
    assert found["tpr_at_fpr_0.1"].n == (scored.member[0, :300]).sum()


def test_all_scores_of_one_target_tied_is_chance_and_not_certain():
    scored = one_target()
    scored.scores[:] = 1.0
    found = membership_metrics(scored, (0.1,), QUICK)
    assert found["auc"].value == 0.5
    assert found["auc"].low < 0.45
    assert found["auc"].high > 0.55
    assert found["tpr_at_fpr_0.1"].value == found["realised_fpr_at_fpr_0.1"].value == 0
    assert found["tpr_at_fpr_0.1"].high > 0.01


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_bayes_security_is_the_mirror_of_the_advantage(shift):
    found = membership_metrics(table(shift=shift), (), QUICK)
    advantage, security = found["advantage"], found["bayes_security"]
    assert security.value == 1 - advantage.value
    assert (security.low, security.high) == (1 - advantage.high, 1 - advantage.low)
    assert advantage.method in security.method


def test_every_estimate_says_how_it_was_made():
    for estimate in membership_metrics(table(), (0.1,), QUICK).values():
        assert estimate.low <= estimate.value <= estimate.high
        assert "mean over 4 target models" in estimate.method
        assert estimate.over == "models and records"
        assert estimate.n == 400


def test_realised_fpr_is_honest_about_its_threshold():
    found = membership_metrics(table(shift=1), (0.1,), QUICK)["realised_fpr_at_fpr_0.1"]
    assert found.low < 0.1 < found.high
    assert "separate halves" in found.method


def test_tpr_of_noise_is_no_better_than_its_realised_fpr():
    found = membership_metrics(table(), (0.1,), QUICK)
    assert found["tpr_at_fpr_0.1"].low < found["realised_fpr_at_fpr_0.1"].high


def test_curve_is_json_ready_and_ends_at_one():
    curve = roc_curve(table(shift=1), QUICK)
    assert set(curve) == {"fpr", "tpr", "low", "high"}
    assert curve["fpr"][-1] == curve["tpr"][-1] == 1.0
    assert all(isinstance(v, float) for values in curve.values() for v in values)


def test_accuracy_is_split_by_membership():
    scored = table(40)
    found = utility_metrics(scored.member, scored.member, scored.targets, QUICK)
    assert found["train_accuracy"].value == 1.0
    assert found["heldout_accuracy"].value == 0.0
    assert found["heldout_accuracy"].high > 0


@pytest.mark.parametrize("targets", [1, 4])
def test_compared_metrics_are_those_of_all_metrics(targets):
    scores = table(shift=0.5)
    some = ScoreTable(*(getattr(scores, name)[:targets] for name in ("targets", "scores", "member", "scored")))
    everything, compared = (found(some, (0.1, 0.001), QUICK) for found in (membership_metrics, compared_metrics))
    assert set(compared) == {"auc", "tpr_at_fpr_0.1"}
    assert all(compared[name] == everything[name] for name in compared)


def test_explained_is_set_against_the_spread_of_the_counted_records():
    rng, grid = np.random.default_rng(0), np.linspace(0, 100, 101)
    numbers = rng.normal(50, 5, 1000).round().astype(np.int64)
    answers = np.eye(101)[np.clip(numbers + rng.choice([-4, 4], 1000), 0, 100)]
    counted = np.arange(1000) >= 100
    wrong = np.where(counted, numbers, (numbers + rng.integers(1, 101, 1000)) % 101)  # one in ten is a canary
    found = explained(answers, wrong, grid, counted)[counted].mean()
    assert found == pytest.approx(1 - 16 / numbers[counted].var())
    assert found == pytest.approx(explained(answers[counted], numbers[counted], grid).mean())
    assert explained(answers, wrong, grid)[counted].mean() > found + 0.3
