import xml.etree.ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st
from privassay.harness.evidence import RuleVerdict
from privassay.harness.junit import to_junit
from privassay.harness.types import Verdict


def verdict(candidate, rule, outcome, reason="because"):
    return RuleVerdict(
        candidate=candidate,
        rule=rule,
        metric="mia/lira/auc",
        verdict=outcome,
        attack="lira",
        estimate=None,
        limit=0.6,
        reason=reason,
    )


def counts(element):
    return {name: int(element.get(name)) for name in ("tests", "failures", "errors", "skipped")}


def test_one_suite_a_candidate_and_one_case_a_rule():
    verdicts = [
        verdict("mlp/none", "auc", Verdict.FAIL, "lira: lower end over"),
        verdict("mlp/dp", "auc", Verdict.PASS),
        verdict("mlp/none", "lift", Verdict.INCONCLUSIVE, "which holds the limit"),
        verdict("mlp/dp", "lift", Verdict.ERROR, "miface failed"),
        verdict("mlp/dp", "claim", Verdict.PASS, "epsilon 3"),
    ]
    root = ET.fromstring(to_junit(verdicts, "quickstart"))
    assert (root.tag, root.get("name")) == ("testsuites", "quickstart")
    assert counts(root) == {"tests": 5, "failures": 2, "errors": 1, "skipped": 0}
    none, dp = root
    assert (none.get("name"), dp.get("name")) == ("mlp/none", "mlp/dp")
    assert counts(none) == {"tests": 2, "failures": 2, "errors": 0, "skipped": 0}
    assert counts(dp) == {"tests": 3, "failures": 0, "errors": 1, "skipped": 0}
    cases = {(case.get("classname"), case.get("name")): case for case in root.iter("testcase")}
    assert set(cases) == {
        ("quickstart.mlp/none", "auc"),
        ("quickstart.mlp/none", "lift"),
        ("quickstart.mlp/dp", "auc"),
        ("quickstart.mlp/dp", "lift"),
        ("quickstart.mlp/dp", "claim"),
    }
    fail, inconclusive = none.iter("failure")
    assert (fail.get("type"), fail.get("message")) == ("fail", "lira: lower end over")
    assert fail.text == "lira: lower end over"
    assert inconclusive.get("type") == "inconclusive"
    assert inconclusive.get("message") == "which holds the limit"
    assert [error.get("message") for error in dp.iter("error")] == ["miface failed"]
    assert [[child.tag for child in case] for case in dp] == [["system-out"], ["error"], ["system-out"]]
    assert cases["quickstart.mlp/dp", "claim"].findtext("system-out") == "epsilon 3"


def test_without_a_policy_nothing_passes_and_the_file_is_not_empty():
    root = ET.fromstring(to_junit([], "quickstart"))
    assert counts(root) == {"tests": 1, "failures": 0, "errors": 0, "skipped": 1}
    (case,) = root.iter("testcase")
    assert [(child.tag, child.get("message")) for child in case] == [
        ("skipped", "no policy was given: nothing was judged")
    ]


def test_characters_that_xml_cannot_hold_are_replaced_and_all_others_kept():
    odd = "<a & 'b' \"c\">\n\x00\x1b[31m \ud800 \ufffe é 🙂 ]]>"
    kept = "<a & 'b' \"c\">\n\ufffd\ufffd[31m \ufffd \ufffd é 🙂 ]]>"
    (suite,) = ET.fromstring(to_junit([verdict(odd, odd, Verdict.FAIL, odd)], odd))
    (case,) = suite
    (failure,) = case
    assert suite.get("name") == case.get("name") == failure.get("message") == failure.text == kept


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.text(), st.sampled_from(Verdict), st.text())), st.text())
def test_every_document_parses_and_counts_what_it_holds(rows, name):
    verdicts = [verdict(*row) for row in rows]
    root = ET.fromstring(to_junit(verdicts, name))
    outcomes = [row[2] for row in rows]
    if rows:
        bad = outcomes.count(Verdict.FAIL) + outcomes.count(Verdict.INCONCLUSIVE)
        assert counts(root) == {
            "tests": len(rows),
            "failures": bad,
            "errors": outcomes.count(Verdict.ERROR),
            "skipped": 0,
        }
    assert sum(int(suite.get("tests")) for suite in root) == len(list(root.iter("testcase")))


def test_the_same_verdicts_give_the_same_bytes():
    verdicts = [verdict("a", "b", Verdict.PASS)]
    assert to_junit(verdicts, "x") == to_junit(list(verdicts), "x")
    assert to_junit(verdicts, "x").startswith(b"<?xml version='1.0' encoding='utf-8'?>")
