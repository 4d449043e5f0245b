"""What reader and terminal are told of audits and differences."""

import pytest
from privassay.harness import metric_words, terminal, wording
from privassay.harness.evidence import Audit
from privassay.harness.types import AuditedEpsilon, Estimate, Verdict
from privassay.tests.support import evidence_example as example


def audit(contradicts):
    epsilon = AuditedEpsilon(9.0, 9.0, None, 0.95, "lower bound", "a method", 1e-5, 300, "Fair coins.")
    return Audit(
        id="one_run",
        canaries=300,
        kind="mislabelled",
        models=1,
        guesses=60,
        right=60,
        epsilon=epsilon,
        claimed=8.0,
        ceiling=9.5,
        contradicts=contradicts,
    )


def audited(contradicts, **changes):
    plain, *others = example.candidates()
    return example.evidence((plain.model_copy(update={"audits": (audit(contradicts),)}), *others)).model_copy(
        update=changes
    )


def test_a_contradicted_claim_is_said_before_all_else():
    run = audited(True)
    assert wording.headline(run).startswith(f"Claim contradicted: {run.candidates[0].id}. ")
    assert "ontradicted" not in wording.headline(audited(False))


def test_the_terminal_shows_every_audit():
    (line,) = terminal.audit_lines(audited(True))
    assert line.startswith(f"{audited(True).candidates[0].id} one_run: 300 ")
    assert "60 of 60 guesses right" in line
    assert "CLAIM CONTRADICTED" in line
    assert list(terminal.audit_lines(example.evidence())) == []


def test_without_a_policy_nothing_is_outside_of_one():
    run = audited(True)
    verdicts = (example.verdict(run.candidates[0], Verdict.FAIL),)
    unjudged = run.model_copy(update={"policy_sha256": None, "verdicts": verdicts, "experiment": {"name": "x"}})
    assert "1 is contradicted by an audit" in wording.headline(unjudged)
    assert "policy" not in wording.headline(unjudged).replace("not under any rule", "")


@pytest.mark.parametrize(
    ("metric", "low", "high", "words"),
    [
        ("mia/lira/auc", 0.01, 0.02, "leaks more"),
        ("mia/lira/auc", -0.02, -0.01, "leaks less"),
        ("utility/heldout_accuracy", 0.01, 0.02, "more useful"),
        ("utility/heldout_accuracy", -0.02, -0.01, "less useful"),
        ("mia/lira/auc", -0.01, 0.02, "not told apart"),
    ],
)
def test_what_a_difference_means(metric, low, high, words):
    assert metric_words.direction(metric, Estimate((low + high) / 2, low, high, 0.95, "", 9, "records")) == words


def test_differences_of_percentages_are_points():
    assert metric_words.number(metric_words.of_difference("heldout_accuracy"), -0.066) == "\u22126.6\u00a0pts"
    assert metric_words.number(metric_words.of_difference("auc"), -0.066) == "\u22120.066"
