import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from privassay.harness import evidence as ev
from privassay.harness.errors import ExitCode, UsageError
from privassay.harness.gate import (
    PRECEDENCE,
    exit_code,
    exit_code_without_policy,
    judge,
    overall,
    strongest,
)
from privassay.harness.gate_metrics import matches
from privassay.harness.policy import ClaimRule, MetricRule, Policy
from privassay.harness.types import Estimate, PrivacyClaim, Verdict
from privassay.tests.support.judged import attack as judged_attack
from privassay.tests.support.judged import interval, run_of

PASS, FAIL, INCONCLUSIVE, ERROR = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR


def attack(attack_id, family="membership", status="ok", reason="", **metrics):
    return judged_attack(attack_id, metrics, family, status, reason)


def candidate(*attacks, name="mlp/none", claim=None, **utility):
    return ev.Candidate(
        id=name,
        model="mlp",
        defense="none",
        guarantee="none",
        claim=claim,
        utility={metric: interval(*ends) for metric, ends in utility.items()},
        attacks=attacks,
    )


def control(status="passed", name="planted_leak", reason=""):
    return ev.Control(id=name, expectation="is caught", status=status, reason=reason, metrics={})


PASSED = control()


def evidence(*candidates, controls=(PASSED,)):
    return run_of(*candidates, controls=controls)


def policy(*rules):
    return Policy("p", None, rules, "0" * 64, "p.yaml")


def at_most(limit, metric="mia/*/auc"):
    return MetricRule(id="rule", metric=metric, max=limit)


def at_least(limit, metric="utility/acc"):
    return MetricRule(id="rule", metric=metric, min=limit)


def judge_one(rule, *attacks, **changes):
    (verdict,) = judge(evidence(candidate(*attacks, **changes)), policy(rule), None)
    return verdict


def given_verdict(verdict):
    return ev.RuleVerdict(
        candidate="c",
        rule="r",
        metric="m",
        verdict=verdict,
        attack=None,
        estimate=None,
        limit=None,
        reason="",
    )


@pytest.mark.parametrize(
    ("low", "high", "under", "over"),
    [  # limit 0.5; `under` is the verdict of `max: 0.5`, `over` that of `min: 0.5`
        (0.1, 0.4, PASS, FAIL),
        (0.1, 0.5, PASS, INCONCLUSIVE),
        (0.5, 0.5, PASS, PASS),
        (0.4, 0.6, INCONCLUSIVE, INCONCLUSIVE),
        (0.5, 0.6, INCONCLUSIVE, PASS),
        (0.50001, 0.6, FAIL, PASS),
        (0.1, 0.49999, PASS, FAIL),
        (0.7, 0.9, FAIL, PASS),
    ],
)
def test_verdicts_are_decided_on_interval_ends(low, high, under, over):
    verdict = judge_one(at_most(0.5), attack("lira", auc=(low, high)))
    assert verdict.verdict is under
    assert (verdict.metric, verdict.attack, verdict.limit) == ("mia/lira/auc", "lira", 0.5)
    assert verdict.estimate == interval(low, high)
    assert judge_one(at_least(0.5), acc=(low, high)).verdict is over


def test_negative_limits_and_zero_are_limits_like_others():
    assert judge_one(at_most(0.0, "utility/gap"), gap=(-0.2, 0.0)).verdict is PASS
    assert judge_one(at_most(0.0, "utility/gap"), gap=(0.01, 0.2)).verdict is FAIL
    assert judge_one(at_least(-0.1, "utility/gap"), gap=(-0.2, 0.0)).verdict is INCONCLUSIVE


def test_a_point_estimate_under_the_limit_does_not_pass():
    point = Estimate(0.1, 0.05, 0.7, 0.95, "by hand", 3, "models")
    weak = attack("lira").model_copy(update={"metrics": {"auc": point}})
    assert judge_one(at_most(0.5), weak).verdict is INCONCLUSIVE


def test_the_attack_that_decides_is_named():
    attacks = [
        attack("wide", auc=(0.2, 0.9)),
        attack("lira", auc=(0.61, 0.65)),
        attack("art", auc=(0.62, 0.64)),
    ]
    verdict = judge_one(at_most(0.6), *attacks)
    assert (verdict.verdict, verdict.attack) == (FAIL, "art")
    assert verdict.reason == (
        "mia/art/auc: 95 % interval 0.62 to 0.64, lower end over the limit 0.6; "
        "largest of 3 attacks, not corrected for choosing"
    )
    verdict = judge_one(at_most(0.63), *attacks)
    assert (verdict.verdict, verdict.attack) == (INCONCLUSIVE, "wide")
    assert "which holds the limit 0.63; largest of 3 attacks" in verdict.reason
    verdict = judge_one(at_most(0.9), *attacks)
    assert (verdict.verdict, verdict.attack) == (PASS, "wide")
    assert verdict.reason.endswith("upper end at or under the limit 0.9; largest of 3 attacks")


def test_a_min_rule_names_the_smallest():
    verdict = judge_one(at_least(0.8, "utility/*"), train=(0.9, 1.0), heldout=(0.6, 0.7))
    assert (verdict.verdict, verdict.metric, verdict.attack) == (FAIL, "utility/heldout", None)
    assert verdict.reason.endswith("upper end under the limit 0.8; smallest of 2 metrics, not corrected for choosing")


def test_a_single_attack_was_not_chosen():
    assert "corrected" not in judge_one(at_most(0.5), attack("lira", auc=(0.6, 0.7))).reason


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("mia/*/auc", "mia/lira/auc", True),
        ("mia/*/auc", "mia/lira/x/auc", False),
        ("mia/*", "mia/lira/auc", False),
        ("*", "mia/lira/auc", False),
        ("*/*/*", "mia/lira/auc", True),
        ("mia/**/auc", "mia/lira/x/auc", False),
        ("mia/l?ra/auc", "mia/lira/auc", True),
        ("mia/?/auc", "mia///auc", False),
        ("mia/[a-m]*/auc", "mia/lira/auc", True),
        ("mia/[!l]*/auc", "mia/lira/auc", False),
        ("MIA/*/auc", "mia/lira/auc", False),
        ("mia/*/AUC", "mia/lira/auc", False),
        ("mia/*/tpr_at_fpr_0.01", "mia/lira/tpr_at_fpr_0.01", True),
        ("mia/*/tpr_at_fpr_0.01", "mia/lira/tpr_at_fpr_0x01", False),
        ("mia/*/auc", "mia/lira/auc_raw", False),
    ],
)
def test_wildcards_stay_between_slashes_and_case_counts(pattern, name, expected):
    assert matches(pattern, name) is expected


def test_every_metric_of_every_family_can_be_addressed():
    attacks = (attack("lira", auc=(0.1, 0.2)), attack("miface", "inversion", lift=(0.1, 0.2)))
    attacks += (attack("csmia", "attribute", gain=(0.1, 0.2)),)
    for metric in ("mia/lira/auc", "inversion/miface/lift", "attribute/csmia/gain", "utility/acc"):
        assert judge_one(at_most(0.5, metric), *attacks, acc=(0.1, 0.2)).metric == metric


def test_verdicts_come_by_candidate_then_by_rule():
    both = evidence(candidate(name="a", acc=(0, 1)), candidate(name="b", acc=(0, 1)))
    rules = policy(at_most(2, "utility/acc"), ClaimRule(id="claim", claim="required"))
    assert [(v.candidate, v.rule) for v in judge(both, rules, None)] == [
        ("a", "rule"), ("a", "claim"), ("b", "rule"), ("b", "claim"),
    ]  # fmt: skip
    assert [v.candidate for v in judge(both, rules, ["b", "a", "b"])] == ["b", "b", "a", "a"]


# Attacks and candidates without the metric


def test_a_failed_attack_is_an_error_whatever_the_others_say():
    broken = attack("art", status="error", reason="MemoryError")
    verdict = judge_one(at_most(0.6), broken, attack("lira", auc=(0.5, 0.52)))
    assert (verdict.verdict, verdict.attack) == (ERROR, "art")
    assert verdict.reason.startswith("art failed (MemoryError); the others alone: PASS, mia/lira/auc:")
    assert (
        "the others alone: FAIL, mia/lira/auc" in judge_one(at_most(0.6), broken, attack("lira", auc=(0.7, 0.8))).reason
    )


def test_a_failed_attack_counts_only_for_rules_that_cover_it():
    broken = attack("miface", "inversion", status="error", reason="no")
    assert judge_one(at_most(0.6), broken, attack("lira", auc=(0.5, 0.52))).verdict is PASS
    other = attack("art", status="error", reason="no")
    assert judge_one(at_most(0.6, "mia/lira/auc"), other, attack("lira", auc=(0.5, 0.52))).verdict is PASS


def test_an_attack_that_was_not_run_is_named_and_keeps_a_rule_from_passing():
    missing = attack("lira", status="not_run", reason="needs 4 references")
    gap = attack("gap", advantage=(0.1, 0.2))
    for ends, expected in (((0.5, 0.52), INCONCLUSIVE), ((0.7, 0.8), FAIL), ((0.5, 0.8), INCONCLUSIVE)):
        verdict = judge_one(at_most(0.6), missing, attack("loss", auc=ends), gap)
        assert (verdict.verdict, verdict.attack) == (expected, "loss")
        assert verdict.reason.endswith(
            "; judged without: lira was not run (needs 4 references); gap does not give this metric"
        )
    assert judge_one(at_most(0.6), attack("loss", auc=(0.5, 0.52)), gap).verdict is PASS


@pytest.mark.parametrize(("status", "expected"), [("error", ERROR), ("not_run", FAIL)])
def test_numbers_of_an_attack_that_did_not_finish_are_not_compared(status, expected):
    unfinished = attack("art", status=status, reason="stopped", auc=(0.0, 0.0))
    verdict = judge_one(at_least(0.5, "mia/*/auc"), unfinished, attack("lira", auc=(0.1, 0.2)))
    assert verdict.verdict is expected
    assert "interval 0 to 0" not in verdict.reason


def test_a_rule_that_only_attacks_without_a_result_cover_is_an_error():
    missing = attack("miface", "inversion", status="not_run", reason="no gradients")
    verdict = judge_one(at_most(0.1, "inversion/*/lift"), missing, attack("lira", auc=(0.5, 0.6)))
    assert (verdict.verdict, verdict.attack, verdict.estimate) == (ERROR, "miface", None)
    assert verdict.reason == "this candidate has no inversion/*/lift: miface was not run (no gradients)"
    broken = attack("deep", "inversion", status="error", reason="CUDA")
    verdict = judge_one(at_most(0.1, "inversion/*/lift"), missing, broken)
    assert (verdict.attack, verdict.reason) == (
        "deep",
        "this candidate has no inversion/*/lift: deep failed (CUDA)",
    )


def test_a_candidate_without_a_metric_that_others_have_is_an_error():
    two = evidence(candidate(name="a", acc=(0.9, 1)), candidate(name="b"))
    first, second = judge(two, policy(at_least(0.8)), None)
    assert (first.verdict, second.verdict) == (PASS, ERROR)
    assert second.reason == "this candidate has no utility/acc"


@pytest.mark.parametrize(
    ("metric", "nearest"),
    [
        ("mia/*/aucc", "nearest are mia/lira/auc, "),
        ("mai/*/auc", "nearest are mia/lira/auc, "),
        ("utility/acuracy", "nearest are utility/accuracy, "),
        ("mia/*", "nearest are mia/lira/auc, "),
        ("*", "nearest are "),
    ],
)
def test_a_rule_that_matches_no_metric_is_a_usage_error_with_the_nearest_names(metric, nearest):
    measured = candidate(attack("lira", auc=(0.5, 0.6), advantage=(0.1, 0.2)), accuracy=(0.9, 1))
    with pytest.raises(UsageError) as caught:
        judge(evidence(measured), policy(at_most(0.5, metric)), None)
    assert str(caught.value).startswith(
        f"p.yaml: rule 'rule': metric={metric!r} matches no metric of the evidence; {nearest}"
    )
    assert "\n" not in str(caught.value)


def test_a_misspelt_metric_is_found_although_one_of_the_attacks_failed():
    attacks = (attack("lira", auc=(0.5, 0.6)), attack("art", status="error", reason="no"))
    with pytest.raises(UsageError, match="'mia/\\*/aucc' matches no metric"):
        judge(evidence(candidate(*attacks)), policy(at_most(0.5, "mia/*/aucc")), None)


def test_a_rule_without_any_metric_in_the_evidence():
    with pytest.raises(UsageError, match="matches no metric of the evidence; which has none"):
        judge(evidence(candidate()), policy(at_most(0.5)), None)


def test_unknown_candidates_and_none_at_all():
    with pytest.raises(UsageError, match="candidate 'mlp/x': not in the evidence, which has mlp/none"):
        judge(evidence(candidate(acc=(0, 1))), policy(at_least(0.5)), ["mlp/x"])
    with pytest.raises(UsageError, match="no candidate to judge"):
        judge(evidence(), policy(ClaimRule(id="c", claim="required")), None)
    with pytest.raises(UsageError, match="no candidate to judge"):
        judge(evidence(candidate()), policy(ClaimRule(id="c", claim="required")), [])


# Controls


@pytest.mark.parametrize("status", ["failed", "error"])
def test_a_control_that_did_not_pass_makes_every_verdict_an_error(status):
    two = [candidate(name="a", acc=(0.9, 1)), candidate(name="b", acc=(0.1, 0.2))]
    controls = (control(name="shuffled"), control(status, reason="AUC 0.61"))
    verdicts = judge(
        evidence(*two, controls=controls), policy(at_least(0.5), ClaimRule(id="c", claim="required")), None
    )
    assert [v.verdict for v in verdicts] == [ERROR] * 4
    assert {v.reason for v in verdicts} == {
        f"no result of this run counts, its controls say: planted_leak {status} (AUC 0.61)"
    }
    assert exit_code(verdicts) is ExitCode.ERROR


def test_a_run_without_controls_passes_nothing():
    (verdict,) = judge(evidence(candidate(acc=(0.9, 1)), controls=()), policy(at_least(0.5)), None)
    assert verdict.verdict is ERROR
    assert verdict.reason.startswith("no control was run")


def test_usage_comes_before_a_failed_control():
    with pytest.raises(UsageError):
        judge(evidence(candidate(acc=(0, 1)), controls=(control("failed"),)), policy(at_most(1)), None)


# Claims


def claim(epsilon, delta):
    return PrivacyClaim(epsilon, delta, "record", "add_or_remove_one", "poisson", "pld", "event", ())


@pytest.mark.parametrize(
    ("epsilon", "delta", "expected", "reason"),
    [
        (3.0, 1e-5, PASS, "epsilon 3 at delta 1e-05 for one record: within the limits"),
        (10.0, 1e-4, PASS, "epsilon 10 at delta 0.0001 for one record: within the limits"),
        (10.1, 1e-5, FAIL, "epsilon 10.1 at delta 1e-05 for one record: epsilon is over 10"),
        (3.0, 2e-4, FAIL, "epsilon 3 at delta 0.0002 for one record: delta is over 0.0001"),
        (11.0, 1e-3, FAIL, "epsilon is over 10 and delta is over 0.0001"),
    ],
)
def test_claims_are_compared_with_what_the_policy_allows(epsilon, delta, expected, reason):
    rule = ClaimRule(id="claim", claim="required", max_epsilon=10, max_delta=1e-4)
    verdict = judge_one(rule, claim=claim(epsilon, delta))
    assert (verdict.verdict, verdict.metric, verdict.limit) == (expected, "claim", 10)
    assert verdict.reason.endswith(reason)


def test_no_claim_fails_and_any_claim_passes_a_rule_without_bounds():
    rule = ClaimRule(id="claim", claim="required")
    assert judge_one(rule).verdict is FAIL
    assert judge_one(rule).reason == "no formal claim"
    assert judge_one(rule, claim=claim(1e6, 0.5)).verdict is PASS


# Precedence


@pytest.mark.parametrize(
    "outcomes", [c for n in range(1, 5) for c in itertools.combinations((ERROR, FAIL, INCONCLUSIVE, PASS), n)]
)
def test_precedence_of_every_combination(outcomes):
    # The combinations keep the order written above, so that the strongest comes first.
    for order in itertools.permutations(outcomes):
        verdicts = [given_verdict(v) for v in order]
        assert overall(verdicts) is outcomes[0]
        assert exit_code(verdicts) == {ERROR: 4, FAIL: 1, INCONCLUSIVE: 3, PASS: 0}[outcomes[0]]


def test_precedence_of_exit_codes():
    assert [int(code) for code in PRECEDENCE] == [2, 4, 1, 3, 0]
    assert set(PRECEDENCE) == set(ExitCode)
    assert strongest([ExitCode.PASS, ExitCode.ERROR, ExitCode.USAGE, ExitCode.FAIL]) is ExitCode.USAGE


def test_nothing_judged_is_nothing_passed():
    assert overall([]) is ERROR
    assert exit_code([]) is ExitCode.ERROR


@settings(deadline=None)
@given(st.lists(st.sampled_from(Verdict), min_size=1), st.sampled_from(Verdict))
def test_one_more_verdict_never_improves_the_outcome(outcomes, extra):
    before = exit_code([given_verdict(v) for v in outcomes])
    after = exit_code([given_verdict(v) for v in [*outcomes, extra]])
    assert PRECEDENCE.index(after) <= PRECEDENCE.index(before)


numbers = st.floats(-2, 2)
intervals = st.tuples(numbers, numbers).map(sorted)


@settings(deadline=None)
@given(
    st.lists(intervals, min_size=1, max_size=4),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=4, max_size=4),
    st.floats(0, 1),
    st.booleans(),
)
def test_wider_intervals_never_prove_more(ends, widening, limit, is_max):
    rule = at_most(limit) if is_max else at_least(limit, "mia/*/auc")
    wide = [(low - left, high + right) for (low, high), (left, right) in zip(ends, widening, strict=False)]
    before = judge_one(rule, *(attack(f"a{i}", auc=e) for i, e in enumerate(ends))).verdict
    after = judge_one(rule, *(attack(f"a{i}", auc=e) for i, e in enumerate(wide))).verdict
    assert after in {before, INCONCLUSIVE}


@settings(deadline=None)
@given(st.lists(intervals, min_size=1, max_size=3), intervals, st.floats(0, 1))
def test_one_more_attack_never_helps_a_candidate(ends, extra, limit):
    attacks = [attack(f"a{i}", auc=e) for i, e in enumerate(ends)]
    before = judge_one(at_most(limit), *attacks)
    after = judge_one(at_most(limit), *attacks, attack("extra", auc=extra))
    order = [FAIL, INCONCLUSIVE, PASS]
    assert order.index(after.verdict) <= order.index(before.verdict)


@settings(deadline=None)
@given(intervals, numbers)
def test_a_min_rule_is_a_max_rule_mirrored_at_zero(ends, limit):
    low, high = ends
    under = judge_one(at_most(limit, "utility/x"), x=(low, high))
    over = judge_one(at_least(-limit, "utility/x"), x=(-high, -low))
    assert under.verdict is over.verdict


# A run that no policy judges


@pytest.mark.parametrize(
    ("attacks", "controls", "expected"),
    [
        ([attack("a", auc=(0.5, 0.6))], [control()], ExitCode.PASS),
        ([attack("a", auc=(0.9, 1))], [control()], ExitCode.PASS),
        ([attack("a", status="not_run", reason="no")], [control()], ExitCode.PASS),
        ([attack("a", status="error", reason="no")], [control()], ExitCode.ERROR),
        ([attack("a", auc=(0.5, 0.6))], [control(), control("failed")], ExitCode.ERROR),
        ([attack("a", auc=(0.5, 0.6))], [control("error")], ExitCode.ERROR),
        ([attack("a", auc=(0.5, 0.6))], [], ExitCode.ERROR),
    ],
)
def test_a_run_without_a_policy_completes_or_errs(attacks, controls, expected):
    assert exit_code_without_policy(evidence(candidate(*attacks), controls=tuple(controls))) is expected
