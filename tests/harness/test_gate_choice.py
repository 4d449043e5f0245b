"""Which of several attacks may prove a violation, and claims that an audit contradicts."""

import pytest
from privassay.harness import evidence as ev
from privassay.harness.errors import ExitCode
from privassay.harness.gate import CONTRADICTED, exit_code, exit_code_without_policy, judge
from privassay.harness.policy import MetricRule, Policy
from privassay.harness.types import AuditedEpsilon, PrivacyClaim, Verdict
from privassay.tests.support.judged import attack as judged_attack
from privassay.tests.support.judged import interval, run_of


def attack(name, low, high):
    return judged_attack(name, {"auc": (low, high)})


def evidence(*attacks, primary=None, strongest=None, audits=(), claim=None, passed=True):
    best = {} if strongest is None else {"auc": ev.Strongest(attack=strongest[0], of=("a", "b"), estimate=strongest[1])}
    subject = ev.Candidate(
        id="mlp/none",
        model="mlp",
        defense="none",
        guarantee="none",
        claim=claim,
        utility={},
        attacks=attacks,
        strongest=best,
        audits=audits,
    )
    control = ev.Control(id="c", expectation="", status="passed" if passed else "failed", reason="", metrics={})
    return run_of(subject, controls=(control,), primary=primary)


def judged(found, metric="mia/*/auc"):
    rule = MetricRule(id="rule", metric=metric, max=0.6)
    return judge(found, Policy("p", None, (rule,), "0" * 64, "p.yaml"), None)


OVER, UNDER, OPEN = (0.61, 0.69), (0.5, 0.58), (0.55, 0.64)


def test_the_primary_attack_proves_a_violation_without_correction():
    (verdict,) = judged(
        evidence(attack("a", *OVER), attack("b", *UNDER), primary="a", strongest=("b", interval(*OPEN)))
    )
    assert (verdict.verdict, verdict.attack) == (Verdict.FAIL, "a")
    assert "not corrected" not in verdict.reason


def test_the_corrected_strongest_proves_a_violation():
    (verdict,) = judged(
        evidence(attack("a", *UNDER), attack("b", *OVER), primary="a", strongest=("b", interval(*OVER)))
    )
    assert (verdict.verdict, verdict.attack, verdict.metric) == (Verdict.FAIL, "b", "mia/strongest/auc")
    assert "chosen as the strongest" in verdict.reason


def test_another_attack_over_the_limit_alone_leaves_the_rule_open():
    """The largest of several intervals, uncorrected, is over the limit too often by chance."""
    found = evidence(attack("a", *UNDER), attack("b", *OVER), primary="a", strongest=("b", interval(*OPEN)))
    (verdict,) = judged(found)
    assert (verdict.verdict, verdict.attack) == (Verdict.INCONCLUSIVE, "b")
    assert verdict.reason == (
        "mia/b/auc: 95 % interval 0.61 to 0.69, lower end over the limit 0.6; largest of 2 attacks, which is no proof: "
        "one of 2, not named before the run; the interval that answers for the choice is 0.55 to 0.64"
    )
    assert exit_code([verdict]) is ExitCode.INCONCLUSIVE


def test_a_rule_that_names_one_attack_needs_no_correction():
    found = evidence(attack("a", *UNDER), attack("b", *OVER), primary="a", strongest=("b", interval(*OPEN)))
    assert judged(found, "mia/b/auc")[0].verdict is Verdict.FAIL
    assert judged(found, "mia/a/auc")[0].verdict is Verdict.PASS


def test_a_wider_corrected_interval_keeps_nothing_from_passing():
    """Every attack within the limit is a pass: intersection-union needs no correction."""
    found = evidence(attack("a", *UNDER), attack("b", *UNDER), primary="a", strongest=("b", interval(0.49, 0.61)))
    assert judged(found)[0].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (attack("b", *UNDER), Verdict.PASS),
        (attack("b", *OPEN), Verdict.INCONCLUSIVE),
        (attack("b", *UNDER).model_copy(update={"status": "error", "reason": "broke", "metrics": {}}), Verdict.ERROR),
        (
            attack("b", *UNDER).model_copy(update={"status": "not_run", "reason": "no", "metrics": {}}),
            Verdict.INCONCLUSIVE,
        ),
    ],
)
def test_a_rule_about_the_strongest_is_about_every_attack(second, expected):
    """The strongest has the largest lower end; another may have the largest upper end, or have failed."""
    found = evidence(attack("a", *UNDER), second, primary="a", strongest=("a", interval(0.49, 0.59)))
    for metric in ("mia/strongest/auc", "mia/*/auc"):
        assert judged(found, metric)[0].verdict is expected


def test_several_rates_under_one_rule_are_not_corrected_and_it_says_so():
    rates = {"tpr_at_fpr_0.01": interval(*OVER), "tpr_at_fpr_0.1": interval(*OVER)}
    found = evidence(attack("a", *UNDER).model_copy(update={"metrics": rates}), primary="a")
    (verdict,) = judged(found, "mia/*/tpr_at_fpr_*")
    assert verdict.verdict is Verdict.FAIL
    assert verdict.reason.endswith("not corrected for choosing among 2 metrics")


def test_an_open_rule_says_how_many_records_would_decide():
    (verdict,) = judged(evidence(attack("a", 0.5, 0.62)))
    # 100 x (0.06 / 0.04)^2 = 225
    assert "about 230 records, and as many times the models, instead of 100 would decide" in verdict.reason
    (verdict,) = judged(evidence(attack("a", 0.55, 0.65)))
    assert "too near the limit for any number of records" in verdict.reason


def test_the_chance_that_a_flagged_person_is_a_member_is_judged_at_the_rules_prior():
    """TPR 2 % to 4 %, FPR 1 % to 2 %, one suspect in ten a member: opposite ends combined."""
    rates = {"tpr_at_fpr_0.01": interval(0.02, 0.04), "realised_fpr_at_fpr_0.01": interval(0.01, 0.02)}
    found = evidence(attack("a", 0.5, 0.55).model_copy(update={"metrics": rates}))
    low, high = (0.1 * tpr / (0.1 * tpr + 0.9 * fpr) for tpr, fpr in ((0.02, 0.02), (0.04, 0.01)))
    limits = {low * 0.99: Verdict.FAIL, (low + high) / 2: Verdict.INCONCLUSIVE, high * 1.01: Verdict.PASS}
    for limit, expected in limits.items():
        rule = MetricRule(id="rule", metric="mia/*/ppv_at_fpr_0.01", max=limit, prior=0.1)
        (verdict,) = judge(found, Policy("p", None, (rule,), "0" * 64, "p.yaml"), None)
        assert (verdict.verdict, verdict.metric) == (expected, "mia/a/ppv_at_fpr_0.01")
        assert (verdict.estimate.low, verdict.estimate.high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("metric", "prior", "message"),
    [
        ("mia/*/ppv_at_fpr_0.01", None, "needs a prior"),
        ("mia/*/auc", 0.1, "has a prior, which only"),
        ("mia/*/ppv_at_fpr_0.01", 1.0, "less than 1"),
    ],
)
def test_a_prior_stands_where_it_counts(metric, prior, message):
    with pytest.raises(ValueError, match=message):
        MetricRule(id="rule", metric=metric, max=0.5, prior=prior)


def test_where_nobody_is_flagged_nothing_is_known_about_those_who_are():
    rates = {"tpr_at_fpr_0.01": interval(0.0, 0.0), "realised_fpr_at_fpr_0.01": interval(0.0, 0.0)}
    found = evidence(attack("a", 0.5, 0.55).model_copy(update={"metrics": rates}))
    rule = MetricRule(id="rule", metric="mia/*/ppv_at_fpr_0.01", max=0.3, prior=0.1)
    (verdict,) = judge(found, Policy("p", None, (rule,), "0" * 64, "p.yaml"), None)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert (verdict.estimate.low, verdict.estimate.high) == (0, 1)
    assert "nobody was flagged" in verdict.estimate.method


def audit(value, claimed, contradicts):
    epsilon = AuditedEpsilon(value, value, None, 0.95, "lower bound", "by hand", 1e-5, 100, "coins are fair")
    return ev.Audit(
        id="one_run",
        canaries=100,
        kind="mislabelled",
        models=1,
        guesses=20,
        right=20,
        epsilon=epsilon,
        claimed=claimed,
        ceiling=3.0,
        contradicts=contradicts,
    )


CLAIM = PrivacyClaim(1.0, 1e-5, "record", "add_or_remove_one", "poisson", "pld", "e", ())


def test_a_contradicted_claim_fails_every_policy_and_a_run_without_one():
    found = evidence(attack("a", *UNDER), audits=(audit(2.1, 1.0, True),), claim=CLAIM)
    rule, contradicted = judged(found)
    assert rule.verdict is Verdict.PASS
    assert (contradicted.rule, contradicted.verdict, contradicted.limit) == (CONTRADICTED, Verdict.FAIL, 1.0)
    assert contradicted.reason.startswith("claim contradicted: epsilon is at least 2.1")
    assert exit_code_without_policy(found) is ExitCode.FAIL


@pytest.mark.parametrize(("value", "claimed"), [(0.4, 1.0), (2.1, None)])
def test_an_audit_that_contradicts_nothing_adds_no_verdict(value, claimed):
    found = evidence(attack("a", *UNDER), audits=(audit(value, claimed, False),))
    assert len(judged(found)) == 1
    assert exit_code_without_policy(found) is ExitCode.PASS


@pytest.mark.parametrize(("what", "code"), [("audit", ExitCode.ERROR), ("tpr_at_fpr_0.001", ExitCode.PASS)])
def test_an_audit_that_failed_is_no_pass(what, code):
    found = evidence(attack("a", *UNDER))
    gap = ev.Unmeasured(what=what, reason="the recipe fails")
    found = found.model_copy(update={"candidates": (found.candidates[0].model_copy(update={"unmeasured": (gap,)}),)})
    rule, *others = judged(found)
    assert rule.verdict is Verdict.PASS
    assert exit_code_without_policy(found) is code
    assert [(other.rule, other.verdict, other.metric, other.reason) for other in others] == (
        [(CONTRADICTED, Verdict.ERROR, "audit", "the audit of this candidate failed (the recipe fails)")]
        if what == "audit"
        else []
    )


def test_a_failed_control_does_not_hide_a_contradiction():
    """Controls check the attacks, not the coins of an audit; the exit code is that of the failed control."""
    found = evidence(attack("a", *UNDER), audits=(audit(2.1, 1.0, True),), claim=CLAIM, passed=False)
    assert exit_code_without_policy(found) is ExitCode.ERROR
    assert [verdict.verdict for verdict in judged(found)] == [Verdict.ERROR, Verdict.FAIL]
