from dataclasses import replace

import numpy as np
import pytest
from privassay.harness.compare_runs import Side, compare
from privassay.harness.comparison import discordant_interval, paired_accuracy, paired_differences
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.evidence import SuiteRecord
from privassay.harness.metrics import membership_metrics
from privassay.harness.stats import Resampling
from privassay.harness.types import ScoreTable
from privassay.tests.support import evidence_example

QUICK = Resampling(resamples=400)
FPRS = (0.1,)


def world(gap, seed=0, targets=6, n=300, difficulty=2.0):
    """The same records twice: hard to tell apart by themselves, the second side leaks `gap` more."""
    rng = np.random.default_rng(seed)
    first = np.stack([rng.permutation(n) < n // 2 for _ in range(targets // 2)])
    member = np.stack([first, ~first], axis=1).reshape(-1, n)
    common = difficulty * rng.normal(size=n) + 0.3 * rng.normal(size=member.shape)
    asked = np.ones_like(member)

    def scored(leak, noise_seed):
        noise = 0.1 * np.random.default_rng([seed, noise_seed]).normal(size=member.shape)
        return ScoreTable(np.arange(targets), common + leak * member + noise, member, asked)

    return scored(0.5 + gap, 1), scored(0.5, 2)


def test_the_value_is_the_difference_of_the_two_values():
    new, old = world(0.5)
    found = paired_differences(new, old, FPRS, QUICK)
    apart = [membership_metrics(table, FPRS, QUICK) for table in (new, old)]
    assert set(found) == {"auc", "advantage", "tpr_at_fpr_0.1"}
    for name, difference in found.items():
        assert difference.value == pytest.approx(apart[0][name].value - apart[1][name].value)
        assert difference.low <= difference.value <= difference.high


def test_rates_that_the_records_cannot_resolve_are_left_out():
    new, old = world(0.5, n=200)
    rates = (0.1, 0.05, 0.04, 0.01, 0.001)
    found = {name for name in paired_differences(new, old, rates, QUICK) if name.startswith("tpr")}
    assert found == {"tpr_at_fpr_0.1", "tpr_at_fpr_0.05"}  # 200 outsiders x 0.05 = 10
    assert found == {name for name in membership_metrics(new, rates, QUICK) if name.startswith("tpr")}


def test_equal_answers_are_no_proof_of_equal_models():
    table, _ = world(0.2, n=200)
    for name, difference in paired_differences(table, table, FPRS, QUICK).items():
        none = 1 - (0.0125 if name.startswith("tpr") else 0.025) ** (1 / 200)  # 0 discordant records of 200
        assert (difference.low, difference.value, difference.high) == (pytest.approx(-none), 0, pytest.approx(none))
        assert "few discordant records" in difference.method


def test_two_perfect_attacks_may_differ_on_other_records():
    member = np.arange(100)[np.newaxis] < 50
    one, asked = np.arange(1), np.ones_like(member)
    sides = [ScoreTable(one, spread * member + np.linspace(0, 1, 100), member, asked) for spread in (5, 9)]
    found = paired_differences(*sides, (), QUICK)["auc"]
    assert found.value == 0
    assert found.high == -found.low == pytest.approx(1 - 0.025 ** (1 / 50))  # 50 pairs, none of them discordant


def test_flags_of_the_exact_interval_are_those_of_the_rate():
    """Ties and an uneven share of non-members: the discordant members explain the difference of the TPRs."""
    rng = np.random.default_rng(3)
    member = rng.random((2, 400)) < 0.4
    scores = np.round(rng.normal(size=member.shape) + member, 1)
    old = ScoreTable(np.arange(2), scores, member, np.ones_like(member))
    moved = scores.copy()
    for row in range(2):  # three members of each model leap to the top
        moved[row, np.flatnonzero(member[row] & (scores[row] < 0))[:3]] = 9
    found = paired_differences(replace(old, scores=moved), old, (0.1,), QUICK)["tpr_at_fpr_0.1"]
    assert found.value == pytest.approx(np.mean(3 / member.sum(axis=1)))
    n = int(member.any(axis=0).sum())
    exact = discordant_interval(round(found.value * n), 0, n, 0.95)
    assert found.low <= exact[0]
    assert found.high >= exact[1]
    many = scores + 0.35 * member
    assert "discordant" not in paired_differences(replace(old, scores=many), old, (0.1,), QUICK)["auc"].method


@pytest.mark.parametrize("shares", [(0.0, 0.0), (0.02, 0.02), (0.03, 0.0), (0.01, 0.04)])
def test_the_exact_interval_holds_the_truth(shares):
    n, rng = 100, np.random.default_rng(4)
    only = rng.multinomial(n, [*shares, 1 - sum(shares)], size=1000)
    ends = np.array([discordant_interval(int(a), int(b), n, 0.95) for a, b, _ in only])
    truth = shares[0] - shares[1]
    held = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()
    assert held >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 1000)
    spread = ends[:, 1] - ends[:, 0]
    assert spread.mean() < 0.2


def test_the_exact_interval_sees_what_mcnemar_sees():
    """Nine discordant records, all on one side: p = 2 / 512, below half of alpha. Six: p = 2 / 64, above it."""
    assert discordant_interval(9, 0, 200, 0.95)[0] > 0
    assert discordant_interval(6, 0, 200, 0.95)[0] < 0
    low, high = discordant_interval(2, 5, 200, 0.95)
    assert discordant_interval(5, 2, 200, 0.95) == (pytest.approx(-high), pytest.approx(-low))


def test_accuracies_that_are_the_same_on_few_records_may_differ():
    """Two models that disagree on 1 % of all records: in 200, a percentile interval is often [0, 0]."""
    held, plain = 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        baseline = rng.random((1, 200)) < 0.9
        own = baseline & (rng.random((1, 200)) >= 0.01 / 0.9)  # 1 % of the records are right with the baseline only
        found = paired_accuracy((own, baseline), np.ones((1, 200), bool), np.arange(1), Resampling(resamples=200))
        held += found.low <= -0.01 <= found.high
        plain += (own != baseline).any()
    assert plain < 190  # the rest would have had zero width
    assert held >= 190


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
    same = paired_accuracy((baseline, baseline), asked, np.arange(4), QUICK)
    n = int(asked.any(axis=0).sum())
    assert same.high == -same.low == pytest.approx(1 - 0.0125 ** (1 / n))


def side(folder, name, sections, suite=None, **components):
    """A run with LiRA's scores of one candidate, its attacks' sections and components as told."""
    scores = world(0.5 if name == "new" else 0.0)[0]
    path = folder / name / "restricted/scores/mlp/none/lira.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, targets=scores.targets, scores=scores.scores, member=scores.member, scored=scores.scored)
    ran = evidence_example.membership("lira", "privassay", evidence_example.threat("probabilities"), 1.0)
    ran = ran.model_copy(update={"component": components.get("lira", "lira")})
    candidate = evidence_example.candidate("none", "none", (1.0, 0.9), (ran,))
    experiment = {"seed": 0, "metrics": {"level": 0.95, "resamples": 100, "fprs": [0.1]}, "attacks": sections}
    artifacts = (evidence_example.artifact(folder / name, path),)
    run = evidence_example.evidence((candidate,), experiment=experiment, suite=suite, artifacts=artifacts)
    return Side(folder / name, run, candidate)


def test_attacks_of_two_runs_are_paired_by_what_they_are(tmp_path):
    chosen = SuiteRecord(name="auto", reference_models=14, attacks=("lira",), reason="")
    new, approved = side(tmp_path, "new", {}, suite=chosen), side(tmp_path, "approved", {"lira": {"component": "lira"}})
    found = compare(new, approved).differences
    assert set(found) == {"mia/lira/auc", "mia/lira/advantage", "mia/lira/tpr_at_fpr_0.1"}
    assert found["mia/lira/auc"].low > 0


@pytest.mark.parametrize(
    ("sections", "component", "words"),
    [
        (
            {"lira": {"online": False}},
            "lira",
            r"lira \(no parameters set\) in one and lira \(online=False\) in the other",
        ),
        ({"lira": {"component": "rmia"}}, "rmia", r"lira \(.*\) in one and rmia \(.*\) in the other"),
    ],
)
def test_another_attack_of_the_same_name_is_refused(tmp_path, sections, component, words):
    new, approved = side(tmp_path, "new", {"lira": {}}), side(tmp_path, "approved", sections, lira=component)
    with pytest.raises(UsageError, match=words):
        compare(new, approved)
