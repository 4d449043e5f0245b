"""Limits beside the numbers follow from what was measured: many targets, one, or a model trained elsewhere."""

from dataclasses import replace

import pytest
from privassay.harness.coverage import limits
from privassay.tests.support import evidence_example as example

WAY, WEIGHTS = "speak about this way of training, not", "speak about this one set of weights, not"
TWICE, ONCE = "computed for two changes: 2 ε and (1 + e^ε) δ", "computed with its ε and δ as they are"


def text(run):
    return " ".join(limits(run))


@pytest.mark.parametrize(("targets", "said", "unsaid"), [(None, WAY, WEIGHTS), (8, WAY, WEIGHTS), (1, WEIGHTS, WAY)])
def test_one_target_is_one_set_of_weights(targets, said, unsaid):
    shown = text(example.evidence(experiment={"name": "x", "pool": {"targets": targets}}))
    assert said in shown
    assert unsaid not in shown


def test_a_released_model_is_one_set_of_weights():
    shown = text(example.evidence((example.released(),), verdicts=()))
    assert WEIGHTS in shown
    assert WAY not in shown
    assert "labels only" not in shown


@pytest.mark.parametrize(
    ("relations", "twice", "once"),
    [
        ([], False, False), (["add_or_remove_one"], True, False), (["zero_out_one"], True, False),
        (["replace_one"], False, True), (["add_or_remove_one", "replace_one"], True, True),
    ],
)  # fmt: skip
def test_changes_that_a_claim_is_computed_for(relations, twice, once):
    formal = example.candidates()[1]
    found = [
        formal.model_copy(update={"id": f"mlp/{name}", "claim": replace(example.claim(), neighbouring=name)})
        for name in relations
    ] or [example.candidates()[0]]
    shown = text(example.evidence(tuple(found), verdicts=()))
    assert (TWICE in shown, ONCE in shown) == (twice, once)


def test_users_are_only_spoken_of_where_there_are_some():
    assert "user" not in text(example.evidence())
    assert "Membership results are about users." in text(example.with_data(example.evidence(), users=80))
    formal = example.candidates()[1].model_copy(update={"claim": replace(example.claim(), unit="user")})
    assert "covers all records of that user together" in text(example.evidence((formal,), verdicts=()))


def test_the_least_rate_is_left_out_where_members_are_not_known():
    label = example.released(answers="labels")
    assert "no rate below" not in text(example.evidence((label,), verdicts=()))
    assert "With 600 members no rate below" in text(example.evidence((example.released(),), verdicts=()))
    assert "With 1,198 members no rate below 0.31 %" in text(example.evidence())
