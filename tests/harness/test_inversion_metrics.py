"""Inversion is measured against public knowledge: each metric on reconstructions whose answer is known."""

import dataclasses

import numpy as np
import pytest
from privassay.experiments.digits import Digits
from privassay.harness.canaries import among_members
from privassay.harness.errors import NotApplicable
from privassay.harness.inversion_metrics import auxiliary_means, inversion_metrics, train_judge
from privassay.harness.splits import paired_halves
from privassay.harness.stats import Resampling
from privassay.models.sklearn_random_forest import SklearnRandomForest

QUICK = Resampling(resamples=100)
TARGETS = np.arange(4)


@pytest.fixture(scope="module")
def setting():
    dataset = Digits().load()
    return dataset, paired_halves(dataset, 4, 1200, seed=0)


@pytest.fixture(scope="module")
def judge(setting):
    return train_judge(SklearnRandomForest(n_estimators=50), setting[0], 0, 0.95)


def measure(samples, setting, judge):
    return inversion_metrics(np.asarray(samples, np.float32), TARGETS, setting, judge, QUICK)


def test_judge_is_good_and_says_how_good(judge):
    assert judge.accuracy.value > 0.9
    assert judge.accuracy.method == "Clopper-Pearson"
    assert judge.accuracy.n == 360


def test_the_public_mean_itself_is_no_leak(setting, judge):
    _, means = auxiliary_means(*setting)
    found = measure([means] * 4, setting, judge)
    assert found["lift"].value == 0.0
    assert found["nearest_member_gain"].value == pytest.approx(0.0, abs=1e-6)
    assert abs(found["member_specificity"].value) < 0.1


def test_a_stolen_member_is_seen(setting, judge):
    dataset, split = setting
    stolen = []
    for target in TARGETS:
        rows = split.rows(target)
        stolen.append([dataset.x[rows[dataset.y[rows] == label][0]] for label in range(10)])
    found = measure(stolen, setting, judge)
    assert found["nearest_member_gain"].low > 0.9
    assert found["member_specificity"].low > 100


def test_more_members_than_outsiders_are_not_nearer_by_number_alone(setting, judge):
    dataset, split = setting
    lopsided = dataclasses.replace(split, member=np.random.default_rng(1).random(split.member.shape) < 0.9)
    noise = np.random.default_rng(0).random((4, 10, 8, 8))
    found = measure(noise, (dataset, lopsided), judge)["member_specificity"]
    assert found.low < 0 < found.high


def test_a_non_member_is_no_leak_of_members(setting, judge):
    dataset, split = setting
    others = []
    for target in TARGETS:
        rows = split.pool[~split.member[target]]
        others.append([dataset.x[rows[dataset.y[rows] == label][0]] for label in range(10)])
    found = measure(others, setting, judge)
    assert found["member_specificity"].high < 0


def test_noise_is_not_recognised(setting, judge):
    noise = np.random.default_rng(0).random((4, 10, 8, 8))
    found = measure(noise, setting, judge)
    assert found["evaluation_accuracy"].value < 0.5
    assert found["lift"].value < -0.4
    assert found["baseline_accuracy"].value > 0.8


def test_a_class_that_some_model_never_saw_is_left_out(setting):
    dataset, split = setting
    member = split.member.copy()
    member[0, dataset.y[split.pool] == 5] = False
    labels, _ = auxiliary_means(dataset, dataclasses.replace(split, member=member))
    assert 5 not in labels
    with pytest.raises(NotApplicable, match="no class"):
        auxiliary_means(dataset, dataclasses.replace(split, member=np.zeros_like(member)))


def test_a_class_without_auxiliary_records_is_left_out(setting):
    dataset, split = setting
    few = dataclasses.replace(split, auxiliary=split.auxiliary[dataset.y[split.auxiliary] != 3])
    labels, means = auxiliary_means(dataset, few)
    assert labels.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert means.shape == (9, 8, 8)


def test_the_judge_is_neither_fitted_to_canaries_nor_measured_on_them(setting, judge):
    dataset, split = setting
    wrong = among_members(dataset, split.pool, 900, seed=0)
    found = train_judge(SklearnRandomForest(n_estimators=50), wrong, 0, 0.95)
    assert found.accuracy.n == len(dataset) - 900 - int(0.8 * (len(dataset) - 900))
    assert found.accuracy.value > judge.accuracy.value - 0.05
