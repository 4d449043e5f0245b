"""The stacked attack: its features against the attacks they come from, its strength, and that it cannot peek."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from privassay.attacks.membership import signals
from privassay.attacks.membership._stacked_features import Sums, features, halves, signals_of
from privassay.attacks.membership.lira import lira_scores
from privassay.attacks.membership.rmia import rmia_scores
from privassay.attacks.membership.stacked import Stacked, _Classifier, _Known, _labelled_rows, stacked_scores
from privassay.attacks.membership.student_t import student_t_scores
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.evaluation import run_membership
from privassay.tests.support import small
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

LIRA, STUDENT, STUDENT_HINGE, RATIOS = 14, 15, 16, slice(18, 21)


def auc(scores, member):
    inside = member.sum()
    return (rankdata(scores)[member].sum() - inside * (inside + 1) / 2) / (inside * (~member).sum())


def paired(rng, m, n):
    first = np.array([rng.permutation(n) < n // 2 for _ in range(m // 2)])
    return np.stack([first, ~first], axis=1).reshape(m, n)


def world(m=6, n=1000, effect=1.5, classes=4, seed=0):
    """Logits (m, n, classes), member and labels of models whose answers shift on members, by record."""
    rng = np.random.default_rng(seed)
    member, labels = paired(rng, m, n), rng.integers(classes, size=n)
    easy, leak, noise = rng.normal(1, 2, n), effect * rng.gamma(1, 1, n), rng.uniform(0.3, 1.5, n)
    logits = rng.normal(size=(n, classes)) + 0.3 * rng.normal(size=(m, n, classes))
    logits[:, np.arange(n), labels] += easy + leak * member + noise * rng.normal(size=(m, n))
    return logits, member, labels


def split(logits, member, labels):
    return (logits[0], logits[2:], member[2:], labels), member[0]


RNG = np.random.default_rng(5)
ANSWERS = {
    "random": RNG.normal(size=(50, 5)),
    "two classes, more than one block": RNG.normal(size=(9000, 2)).astype(np.float32),
    "ties": RNG.integers(0, 3, size=(200, 4)).astype(np.float64),
    "sure": 300 * RNG.normal(size=(200, 4)),
    "logarithms of zeros": signals.log_probabilities(np.eye(4)[RNG.integers(4, size=40)]),
}


@pytest.mark.parametrize("logits", ANSWERS.values(), ids=ANSWERS.keys())
def test_signals_are_those_of_the_single_attacks(logits):
    labels = RNG.integers(logits.shape[1], size=len(logits))
    found = signals_of(logits, labels)
    assert found.dtype == np.float32
    ordered = np.sort(logits.astype(np.float64), axis=1)
    normaliser = ordered[:, -1] + np.log(np.exp(ordered - ordered[:, -1:]).sum(axis=1))
    expected = [
        signals.lira_logit(logits, labels),
        signals.hinge(logits, labels),
        *(signals.log_confidence(logits, labels, t) for t in (1, 2, 4)),
        ordered[:, -2] - normaliser,
        ordered[:, -1] - ordered[:, -2],
    ]
    assert found == pytest.approx(np.stack(expected, axis=1), rel=2e-6, abs=2e-6)
    assert signals_of(logits + 7, labels) == pytest.approx(found, rel=2e-6, abs=1e-5)


@pytest.mark.parametrize("m", [4, 10])
def test_features_are_the_scores_of_the_single_attacks(m):
    logits, member, labels = world(m=m + 2, n=200)
    (target, *references), member = [signals_of(model, labels).astype(np.float64) for model in logits], member[1:]
    references = np.array(references)
    rows = features(target, Sums.of(references, member))
    logit, hinge = (references[:, :, column] for column in (0, 1))
    assert rows[:, LIRA] == pytest.approx(lira_scores(target[:, 0], logit, member))
    assert rows[:, STUDENT] == pytest.approx(student_t_scores(target[:, 0], logit, member))
    assert rows[:, STUDENT_HINGE] == pytest.approx(student_t_scores(target[:, 1], hinge, member))
    for place, column in enumerate((2, 3, 4)):
        expected = rmia_scores(np.exp(target[:, column]), np.exp(references[:, :, column]), member)
        assert rows[:, RATIOS][:, place] == pytest.approx(expected)


@given(st.integers(0, 1000), st.sampled_from([6, 8, 20]))
@settings(max_examples=20, deadline=None)
def test_taking_references_off_is_never_having_had_them(seed, m):
    logits, member, labels = world(m=m, n=40, seed=seed)
    of_all = np.stack([signals_of(model, labels) for model in logits])
    rows, gone = np.arange(5, 25), np.array([2, 3])
    found = Sums.of(of_all, member).without(rows, of_all[gone[:, None], rows], member[gone[:, None], rows])
    expected = Sums.of(np.delete(of_all, gone, axis=0)[:, rows], np.delete(member, gone, axis=0)[:, rows])
    for name in ("count", "total", "squares", "confidence"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-9)


def test_models_on_one_half_or_its_complement_belong_together():
    member = paired(np.random.default_rng(0), 6, 30)[[0, 2, 1, 4, 0, 3, 5]]
    assert [group.tolist() for group in halves(member)] == [[0, 2, 4], [1, 5], [3, 6]]


def labelled_auc(groups, member, of_all):
    """How well the classifier tells members of the references, on rows that it was not fitted on."""
    rows, truth = _labelled_rows(_Known(of_all, member, Sums.of(of_all, member)), groups, np.random.default_rng(0))
    return auc(_Classifier.fitted(rows[::2], truth[::2]).log_odds(rows[1::2]), truth[1::2])


def test_a_kept_complement_would_give_the_answer_away():
    # Nothing leaks here. With its complement among the references a model's members still differ from the others: they
    # have one OUT reference more. The classifier must have no such thing to learn.
    logits, member, labels = world(m=6, n=1500, effect=0.0)
    of_all = np.stack([signals_of(model, labels) for model in logits])
    assert labelled_auc([np.array([k]) for k in range(6)], member, of_all) > 0.9
    assert labelled_auc(halves(member), member, of_all) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("m", [6, 18])
def test_stronger_than_what_it_stacks(m):
    best, stacked = [], []
    for seed in range(3):
        given_, truth = split(*world(m=m, n=1500, seed=seed))
        logits, references, member, labels = given_
        target, others = (np.array([signals.lira_logit(z, labels) for z in part]) for part in ([logits], references))
        confidence = np.exp([signals.log_confidence(z, labels, 2.0) for z in (logits, *references)])
        single = (
            lira_scores(target[0], others, member),
            student_t_scores(target[0], others, member),
            rmia_scores(confidence[0], confidence[1:], member),
        )
        best.append([auc(scores, truth) for scores in single])
        stacked.append(auc(stacked_scores(*given_), truth))
    assert np.mean(stacked) > np.mean(best, axis=0).max() + 0.005


def test_random_halves_without_complements_do():
    rng = np.random.default_rng(0)
    logits, _, labels = world(m=2, n=1000, effect=0.0)
    member = np.array([rng.permutation(1000) < 500 for _ in range(25)])
    logits = logits[0] + 0.3 * rng.normal(size=(25, *logits[0].shape))
    logits[:, np.arange(1000), labels] += member
    assert auc(stacked_scores(logits[0], logits[1:], member[1:], labels), member[0]) > 0.8


@pytest.mark.parametrize("permuted", [False, True])
def test_chance_where_masks_mean_nothing(permuted):
    # Halves that nobody trained on; with and without a leak towards other halves.
    areas = []
    for seed in range(6):
        logits, member, labels = world(m=8, n=1000, effect=2.0 if permuted else 0.0, seed=seed)
        believed = member[:, np.random.default_rng(seed + 100).permutation(1000)] if permuted else member
        given_, truth = split(logits, believed, labels)
        areas.append(auc(stacked_scores(*given_), truth))
    assert abs(np.mean(areas) - 0.5) < 3.5 * np.sqrt(1 / (12 * 500) * 2 / 6)


def test_same_bytes_whatever_the_threads_and_another_draw_with_another_seed():
    given_, _ = split(*world(m=10, n=3000))
    with threadpool_limits(1):
        one = stacked_scores(*given_)
    with threadpool_limits(2):
        two = stacked_scores(*given_)
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != stacked_scores(*given_, seed=1).tobytes()


def test_answers_that_were_rounded_still_give_finite_scores():
    logits, member, labels = world(m=6, n=300)
    p = np.exp(logits * 5)
    rounded = signals.log_probabilities(np.round(p / p.sum(axis=2, keepdims=True), 1).reshape(-1, 4)).reshape(p.shape)
    given_, _ = split(rounded, member, labels)
    assert np.isfinite(stacked_scores(*given_)).all()
    constant, _ = split(np.zeros_like(logits), member, labels)
    assert np.isfinite(stacked_scores(*constant)).all()


@pytest.mark.parametrize(
    ("chosen", "why"),
    [([2, 3], "there are 2"), ([2, 3, 2, 3], "there are 4"), ([2, 4, 6, 8], "records have none on one side")],
)
def test_refuses_without_two_pairs(chosen, why):
    logits, member, labels = world(m=10, n=100)
    with pytest.raises(NotApplicable, match="at least 4 reference models") as refusal:
        stacked_scores(logits[0], logits[chosen], member[chosen], labels)
    assert why in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_refuses_other_shapes():
    logits, member, labels = world(m=6, n=100)
    with pytest.raises(UsageError, match=r"must be \(n, classes\)"):
        stacked_scores(logits[0, :50], logits[2:], member[2:], labels)
    with pytest.raises(UsageError, match="must be bool"):
        stacked_scores(logits[0], logits[2:], member[2:].astype(float), labels)
    with pytest.raises(UsageError, match="labels"):
        stacked_scores(logits[0], logits[2:], member[2:], labels[:50])


def test_component_is_the_function(small_setting):
    pool = small.pool(small_setting)
    table = run_membership(small.attack("stacked"), pool, small_setting)
    answers = np.stack([signals.log_probabilities(pool.released(k)) for k in range(small_setting.split.models)])
    for place, target in enumerate(small_setting.targets):
        others = small_setting.split.references(target)
        member, labels = small_setting.split.member[others], small_setting.dataset.y[small_setting.split.pool]
        assert np.array_equal(table.scores[place], stacked_scores(answers[target], answers[others], member, labels))
    with pytest.raises(UsageError, match="fit_seed"):
        Stacked(fit_seed=-1)
