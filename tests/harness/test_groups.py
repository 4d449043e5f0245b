"""Rows of groups: against naive loops, a planted weak group, coverage, and what is kept quiet about few people."""

import dataclasses

import numpy as np
import pytest
from privassay.harness import groups as subject
from privassay.harness.errors import UsageError
from privassay.harness.stats import Resampling
from privassay.harness.types import Dataset, ScoreTable
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score

QUICK = Resampling(resamples=100)


def table(targets=8, n=400, seed=0, shift=0.0):
    """Scores of paired halves; `shift` for each record, or one for all."""
    rng = np.random.default_rng(seed)
    member = np.empty((targets, n), bool)
    for pair in range(targets // 2):
        member[2 * pair] = rng.permutation(n) < n // 2
        member[2 * pair + 1] = ~member[2 * pair]
    scores = rng.normal(size=(targets, n)) + rng.normal(size=n) + shift * member
    return ScoreTable(np.arange(targets), scores, member, np.ones((targets, n), bool))


def naive_rates(scores, here, fpr):
    """TPR and FPR of the records `here` at each target's threshold for all its outsiders, averaged over targets."""
    rates = []
    for values, member in zip(scores.scores, scores.member, strict=True):
        outside = np.flatnonzero(~member)
        allowed = int(fpr * len(outside) + 1e-9)
        above = [sum(values[i] >= values[j] for i in outside if i != j) <= allowed for j in range(len(values))]
        rates.append([np.mean([above[j] for j in np.flatnonzero(here & side)]) for side in (member, ~member)])
    return np.mean(rates, axis=0)


def test_rows_equal_naive_loops():
    scores, column = table(n=400, shift=1.0), np.where(np.arange(400) % 3 == 0, "a", "b")
    scores.scores[:] = scores.scores.round(1)  # ties
    found = subject.groups(scores, {"kind": column}, (0.05, 0.01), QUICK)
    assert [(g.column, g.value, g.members, g.outsiders) for g in found] == [
        ("kind", "a", 134, 134), ("kind", "b", 266, 266),
    ]  # fmt: skip
    for group in found:
        here = column == group.value
        assert set(group.metrics) == {"auc", "tpr_at_fpr_0.05", "realised_fpr_at_fpr_0.05"}  # 0.01 rests on 4 records
        aucs = [roc_auc_score(m[here], s[here]) for m, s in zip(scores.member, scores.scores, strict=True)]
        assert group.metrics["auc"].value == pytest.approx(np.mean(aucs))
        rates = [group.metrics[name].value for name in ("tpr_at_fpr_0.05", "realised_fpr_at_fpr_0.05")]
        assert rates == pytest.approx(naive_rates(scores, here, 0.05))
        assert "threshold of each target for all its non-members" in group.metrics["tpr_at_fpr_0.05"].method
        assert group.metrics["tpr_at_fpr_0.05"].n == here.sum()


def test_a_planted_weak_group_stands_apart():
    column = np.where(np.arange(1200) < 120, "weak", "rest")
    scores = table(targets=16, n=1200, shift=np.where(column == "weak", 2.0, 0.2))
    rest, weak = subject.groups(scores, {"kind": column}, (0.01,), QUICK)
    assert (rest.value, weak.value, weak.small) == ("rest", "weak", False)
    for name in ("auc", "tpr_at_fpr_0.01"):
        assert weak.metrics[name].low > rest.metrics[name].high
    outside = [g.metrics["realised_fpr_at_fpr_0.01"] for g in (rest, weak)]
    assert outside[0].low <= outside[1].high
    assert outside[1].low <= outside[0].high


def test_a_group_that_always_scores_high_has_both_rates_high():
    column = np.where(np.arange(1200) < 120, "loud", "rest")
    scores = table(targets=8, n=1200)
    scores.scores[:, column == "loud"] += 2.0
    loud = subject.groups(scores, {"kind": column}, (0.02,), QUICK)[0].metrics
    assert loud["realised_fpr_at_fpr_0.02"].low > 0.05
    assert loud["tpr_at_fpr_0.02"].low < loud["realised_fpr_at_fpr_0.02"].high
    assert loud["auc"].low < 0.5 < loud["auc"].high


def test_intervals_cover_the_truth_in_small_and_large_groups():
    column = np.where(np.arange(400) < 60, "few", "most")
    spread, fpr, repetitions = np.sqrt(2), 0.05, 60
    threshold = norm.isf((0.05 * 200 + 1) / 201) * spread  # 11 of 201: see harness/vulnerability.py
    truths = {"auc": norm.cdf(1 / 2), "tpr_at_fpr_0.05": norm.sf((threshold - 1) / spread)}
    covered = {(value, name): 0 for value in ("few", "most") for name in truths}
    for seed in range(repetitions):
        for group in subject.groups(
            table(8, 400, seed, 1.0), {"c": column}, (fpr,), Resampling(resamples=100, seed=seed)
        ):
            for name, truth in truths.items():
                covered[group.value, name] += group.metrics[name].low <= truth <= group.metrics[name].high
    assert min(covered.values()) >= binom.ppf(0.001, repetitions, 0.95)


def test_small_groups_are_marked_and_the_smallest_say_nothing_of_people():
    column = np.repeat(["large", "small", "tiny", "one"], [341, 49, 9, 1])
    found = {g.value: g for g in subject.groups(table(), {"kind": column}, (0.05,), QUICK)}
    assert {value: (g.small, bool(g.metrics)) for value, g in found.items()} == {
        "large": (False, True), "small": (True, True), "tiny": (True, False), "one": (True, False),
    }  # fmt: skip


def test_a_group_without_members_or_outsiders_has_no_metrics():
    scores, column = table(n=200), np.repeat(["in", "out"], 100)
    scores.member[:] = column == "in"
    for group in subject.groups(scores, {"kind": column}, (0.1,), QUICK):
        assert group.metrics == {}
        assert {group.members, group.outsiders} == {0, 100}


def test_a_group_that_is_never_on_both_sides_of_one_target_has_rates_but_no_auc():
    scores, column = table(targets=2, n=400), np.repeat(["a", "b"], [300, 100])
    scores.member[0, column == "b"], scores.member[1, column == "b"] = True, False
    found = subject.groups(scores, {"kind": column}, (0.05,), QUICK)[1]
    assert set(found.metrics) == {"tpr_at_fpr_0.05", "realised_fpr_at_fpr_0.05"}
    assert "mean over 1 target models" in found.metrics["tpr_at_fpr_0.05"].method
    assert found.metrics["tpr_at_fpr_0.05"].over == "records"


def test_rare_values_are_put_together():
    column = np.array([f"v{i % 60}" for i in range(900)] + ["other"] * 10 + ["v0"] * 10)
    found = subject.groups(table(targets=2, n=920), {"kind": column}, (), QUICK)
    assert len(found) == subject.MOST_VALUES
    assert found[-1].value == "other"
    assert found[-1].members == 11 * 15 + 10  # the value of that name is among them
    assert "v0" in {group.value for group in found}
    assert sum(group.members for group in found) == 920


def dataset(**sensitive):
    y = np.arange(30, dtype=np.int64) % 11
    return Dataset("toy", np.zeros((30, 2), np.float32), y, 11, (0.0, 1.0), True, "none", sensitive)


def test_columns_are_the_class_and_what_the_data_declares():
    pool = np.arange(0, 30, 2)
    data = dataset(region=np.where(np.arange(30) < 10, "north", "south"))
    columns = subject.group_columns(data, pool)
    assert list(columns) == ["class", "region"]
    assert columns["class"].tolist() == [str(i % 11) for i in range(0, 30, 2)]
    assert columns["region"].tolist() == ["north"] * 5 + ["south"] * 10
    values = [g.value for g in subject.groups(table(2, 15), columns, (), QUICK) if g.column == "class"]
    assert values == [str(i) for i in range(11)]  # 10 after 9


def test_classes_go_by_their_names_where_they_have_any():
    data = dataset()
    names = tuple(f"class {label}" for label in range(data.n_classes))
    found = subject.group_columns(dataclasses.replace(data, class_names=names), np.arange(30))["class"]
    assert found.tolist() == [f"class {label}" for label in data.y[:30]]


def test_sensitive_columns_do_not_change_the_digest():
    assert dataset().sha256 == dataset(region=np.full(30, "north")).sha256


@pytest.mark.parametrize(
    ("sensitive", "why"),
    [
        ({"class": np.full(30, "x")}, "another name: class is always reported"),
        ({"region": np.full(29, "x")}, r"toy: sensitive column region: shape=\(29,\): must be \(30,\)"),
    ],
)
def test_unusable_columns_are_refused(sensitive, why):
    with pytest.raises(UsageError, match=why):
        subject.group_columns(dataset(**sensitive), np.arange(30))
