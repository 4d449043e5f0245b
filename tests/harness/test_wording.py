"""Plain words rest on the evidence: verdicts, comparisons with guessing, ceilings of claims, limits, numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from privassay.harness import evidence as ev
from privassay.harness import metric_words, wording
from privassay.harness.types import Estimate, PrivacyClaim, Verdict
from privassay.tests.support import evidence_example as example
from scipy.stats import norm


def test_each_candidate_has_its_own_verdict():
    run = example.evidence()
    assert [wording.overall(run, c.id) for c in run.candidates] == ["FAIL", "PASS", "INCONCLUSIVE"]
    assert wording.overall(run) == "FAIL"
    assert wording.overall(run.model_copy(update={"verdicts": run.verdicts[1:]})) == "INCONCLUSIVE"


def test_strongest_is_picked_by_the_lower_bound():
    one = example.candidates()[0]
    wide = Estimate(0.2, 0.01, 0.4, 0.95, "wide", 16, "records")
    unsure = one.attacks[1].model_copy(update={"metrics": {"tpr_at_fpr_0.01": wide}})
    found = wording.strongest(one.model_copy(update={"attacks": (unsure, one.attacks[0])}))
    assert found.attack.id == "lira"
    without = one.attacks[4]  # has AUC only
    assert wording.strongest(one.model_copy(update={"attacks": (without,)})).metric == "auc"
    assert wording.strongest(one.model_copy(update={"attacks": ()})) is None


@pytest.mark.parametrize(
    ("tpr", "fpr", "percents"),
    [(0.01, 0.001, (9, 53, 91)), (0.05, 0.01, (5, 36, 83)), (0.6, 0.4, (1.5, 14, 60))],
)
def test_posterior_against_values_worked_by_hand(tpr, fpr, percents):
    found = [100 * wording.posterior(prior, tpr, fpr) for prior in wording.PRIORS]
    assert found == pytest.approx(percents, abs=0.5)


def gaussian_claim(mu, epsilon):
    """The (epsilon, delta) of a Gaussian mechanism for one change of size `mu` standard deviations."""
    delta = norm.cdf(-epsilon / mu + mu / 2) - math.exp(epsilon) * norm.cdf(-epsilon / mu - mu / 2)
    return replace(example.claim(), epsilon=epsilon, delta=float(delta))


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 2.0])
def test_ceiling_of_a_claim_bounds_the_gaussian_mechanism_where_records_are_swapped(epsilon):
    """One record out and another one in moves a mechanism of mu = 1 by up to 2: the optimal attack stays under."""
    fpr = np.linspace(1e-4, 1 - 1e-4, 4000)
    claim = gaussian_claim(1.0, epsilon)
    gap = [wording.tpr_ceiling(claim, f) - norm.sf(norm.isf(f) - 2.0) for f in fpr]
    assert min(gap) >= -1e-12


def test_ceiling_for_two_changes_against_values_worked_by_hand():
    claim = replace(example.claim(), epsilon=math.log(2), delta=0.01)  # two changes: ln 4 and 0.03
    assert wording.tpr_ceiling(claim, 0.01) == pytest.approx(4 * 0.01 + 0.03)
    assert wording.tpr_ceiling(claim, 0.9) == pytest.approx(1 - (1 - 0.03 - 0.9) / 4)


def test_a_claim_about_a_swap_covers_the_game_as_it_is():
    """Replacing one record moves this mechanism by mu = 1, which is all that the game does: no factor of two."""
    claim = replace(gaussian_claim(1.0, 1.0), neighbouring="replace_one")
    assert wording.tpr_ceiling(replace(claim, epsilon=math.log(2), delta=0.01), 0.01) == pytest.approx(2 * 0.01 + 0.01)
    fpr = np.linspace(1e-4, 1 - 1e-4, 4000)
    gap = np.array([wording.tpr_ceiling(claim, f) - norm.sf(norm.isf(f) - 1.0) for f in fpr])
    assert gap.min() >= -1e-12
    assert gap.min() < 1e-3  # the attack touches the line, so a line for less than the claim would be broken
    twice = replace(claim, neighbouring="zero_out_one")
    assert wording.tpr_ceiling(twice, 0.01) > wording.tpr_ceiling(claim, 0.01) + 0.01


def test_ceiling_at_the_ends():
    claim: PrivacyClaim = replace(example.claim(), epsilon=0.0, delta=0.0)
    assert wording.tpr_ceiling(claim, 0.3) == pytest.approx(0.3)
    assert wording.tpr_ceiling(replace(claim, epsilon=1e6), 0.3) == 1.0


@pytest.mark.parametrize("experiment", [{"name": "x"}, {"name": "x", "release": None}])
def test_without_a_release_candidate_the_worst_decides(experiment):
    run = example.evidence(experiment=experiment)
    assert wording.overall(run) == "FAIL"
    assert wording.headline(run).startswith("Of 3 candidates, ")


def test_a_failed_control_outweighs_the_release_candidate():
    run = example.evidence(experiment=example.RELEASED, controls=example.controls("failed"))
    assert wording.overall(run) == "ERROR"
    assert wording.headline(run).startswith("Release candidate mlp/dp_sgd: ERROR. A control of the instrument")


def test_a_release_candidate_that_no_rule_judged_has_not_passed():
    run = example.evidence(experiment=example.RELEASED)
    others = tuple(v for v in run.verdicts if v.candidate != "mlp/dp_sgd")
    assert wording.overall(run.model_copy(update={"verdicts": others})) == "NO POLICY"


def found_at(tpr, realised=None):
    """The example's first attack with other ends: (value, low, high) of TPR and of the realised FPR."""
    metrics = {wording.HEADLINE: Estimate(*tpr, 0.95, "", 16, "records")}
    if realised:
        metrics[wording.REALISED] = Estimate(*realised, 0.95, "", 16, "records")
    attack = example.candidates()[0].attacks[0].model_copy(update={"metrics": metrics})
    return wording.Strongest(attack, wording.HEADLINE)


@pytest.mark.parametrize(
    ("tpr", "realised", "better"),
    [
        ((0.017, 0.0105, 0.024), (0.0115, 0.008, 0.015), False),  # above 1 %, not above what guessing may achieve
        ((0.020, 0.0130, 0.026), (0.0115, 0.008, 0.015), False),  # above its middle, not above its upper end
        ((0.020, 0.0151, 0.024), (0.0115, 0.008, 0.015), True),
        ((0.009, 0.006, 0.012), (0.002, 0.001, 0.005), True),  # ties: the threshold flags fewer than 1 %
        ((0.017, 0.0105, 0.024), None, True),
        ((0.017, 0.0099, 0.024), None, False),
    ],
)
def test_better_than_guessing_only_above_the_realised_false_positives(tpr, realised, better):
    sentence = wording.chance_sentence(found_at(tpr, realised))
    assert ("whole interval is above guessing" in sentence) == better
    assert ("not wholly above what guessing achieves" in sentence) == (not better)


def test_how_much_better_is_counted_from_what_guessing_achieves():
    assert "3.0 times" in wording.chance_sentence(found_at((0.06, 0.05, 0.07), (0.02, 0.01, 0.03)))
    assert "finds none" in wording.chance_sentence(found_at((0.06, 0.05, 0.07), (0.0, 0.0, 0.003)))


def test_auc_is_compared_with_a_half():
    without = example.candidates()[0].attacks[4]
    for low, better in ((0.501, True), (0.5, False)):
        metrics = {"auc": Estimate(0.52, low, 0.54, 0.95, "", 16, "records")}
        found = wording.Strongest(without.model_copy(update={"metrics": metrics}), "auc")
        assert ("above guessing" in wording.chance_sentence(found)) == better


def test_a_claim_is_contradicted_only_beyond_the_realised_false_positives():
    claim = replace(example.claim(), epsilon=0.0, delta=0.0)
    assert wording.contradicts(found_at((0.02, 0.014, 0.03)), claim)
    assert not wording.contradicts(found_at((0.02, 0.014, 0.03), (0.0115, 0.008, 0.015)), claim)


def rule(outcome, ends, limit=0.5, metric="utility/heldout_accuracy", name="r"):
    estimate = Estimate(sum(ends) / 2, *ends, 0.95, "", 16, "records") if ends else None
    return ev.RuleVerdict(
        candidate="mlp/none", rule=name, metric=metric, verdict=outcome, attack=None, estimate=estimate,
        limit=limit, reason="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "sign"),
    [
        (rule(Verdict.PASS, (0.1, 0.2)), "≤"),
        (rule(Verdict.PASS, (0.8, 0.9)), "≥"),
        (rule(Verdict.FAIL, (0.8, 0.9)), "≤"),
        (rule(Verdict.FAIL, (0.1, 0.2)), "≥"),
        (rule(Verdict.INCONCLUSIVE, (0.1, 0.2)), "≤"),  # would have passed, but an attack was not run
    ],
)
def test_limits_show_their_direction(one, sign):
    assert metric_words.limit_words(one, [one]) == f"{sign}\u00a050.0\u00a0%"
    unsure = rule(Verdict.INCONCLUSIVE, (0.4, 0.6))
    assert metric_words.limit_words(unsure, [unsure, one]) == f"{sign}\u00a050.0\u00a0%"


def test_a_limit_whose_direction_is_not_known_stands_alone():
    unsure, failed = rule(Verdict.INCONCLUSIVE, (0.4, 0.6)), rule(Verdict.ERROR, None)
    other = rule(Verdict.PASS, (0.1, 0.2), name="other")
    assert metric_words.limit_words(unsure, [unsure, failed, other]) == "50.0\u00a0%"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("nearest_member_gain", -1.864, "\u2212186.4\u00a0%"),
        ("member_specificity", 0.00117, "+0.1\u00a0%"),
        ("member_specificity", -0.0004, "0.0\u00a0%"),
        ("advantage", -0.000901, "\u22120.001"),
        ("advantage", -0.0001, "0.000"),
        ("lift", -0.0001, "0.0\u00a0pts"),
        ("evaluation_classifier_accuracy", 0.978, "97.8\u00a0%"),
        ("audited_delta", 0.00001, "1e-05"),
    ],
)
def test_numbers_read_well(name, value, shown):
    assert metric_words.number(name, value) == shown


@pytest.mark.parametrize(
    ("auc_low", "words"), [(0.51, "does better than guessing: AUC"), (0.49, "No measurable advantage")]
)
def test_one_threshold_alone_does_not_clear_an_attack(auc_low, words):
    candidate = example.candidates()[0]
    found = wording.strongest(candidate)
    ends = {"low": auc_low, "value": 0.55, "high": 0.6}
    metrics = {**found.attack.metrics, "auc": replace(found.attack.metrics["auc"], **ends)}
    metrics[found.metric] = replace(metrics[found.metric], low=0.0)
    attack = found.attack.model_copy(update={"metrics": metrics})
    assert words in wording.chance_sentence(wording.Strongest(attack, found.metric))
