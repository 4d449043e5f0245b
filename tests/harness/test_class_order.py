"""The order of a model's columns, judged by its members: no false alarms, and no order that goes unseen."""

import itertools

import numpy as np
import pytest
from privassay.harness.class_order import _best, _log_at_least, order_doubt
from scipy.stats import hypergeom


def one_hot(classes, k):
    return np.eye(k)[classes]


def labels(rng, n, k, evenness):
    return rng.choice(k, n, p=rng.dirichlet(np.full(k, evenness)))


def right_on(rng, share, y, k):
    """Answers that know a share of the labels and guess the others."""
    return np.where(rng.random(len(y)) < share, y, rng.integers(k, size=len(y)))


def test_the_best_order_is_the_best_of_all_and_moves_no_more_than_it_must():
    rng = np.random.default_rng(0)
    for _ in range(200):
        k = int(rng.integers(2, 6))
        counts = rng.integers(0, 4, size=(k, k))
        found = [sum(counts[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(k))]
        stays = [sum(i == j for i, j in enumerate(order)) for order in itertools.permutations(range(k))]
        best = _best(counts)
        assert counts[np.arange(k), best].sum() == max(found)
        assert (best == np.arange(k)).sum() == max(s for s, f in zip(stays, found, strict=True) if f == max(found))


@pytest.mark.parametrize(
    ("hits", "given", "wanted", "n"), [(5, 10, 8, 30), (0, 3, 4, 9), (10, 10, 10, 20), (3, 9, 8, 12), (40, 60, 70, 500)]
)
def test_the_tail_is_that_of_the_hypergeometric_distribution(hits, given, wanted, n):
    assert _log_at_least(hits, given, wanted, n) == pytest.approx(hypergeom.logsf(hits - 1, n, wanted, given), abs=1e-9)


@pytest.mark.parametrize("evenness", [0.5, 100.0], ids=["uneven", "even"])
@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("n", [30, 400])
def test_models_that_are_no_good_are_not_suspected(n, k, evenness):
    rng = np.random.default_rng([n, k, int(evenness)])
    doubts = []
    for _ in range(300):
        y = labels(rng, n, k, evenness)
        favourite = np.where(rng.random(n) < 0.02, rng.integers(k, size=n), rng.integers(k))
        useless = rng.choice(k, n, p=rng.dirichlet(np.full(k, 0.3)))
        for guessed in (useless, favourite, right_on(rng, 0.1, y, k), right_on(rng, 0.55, y, k)):
            doubts.append(order_doubt(one_hot(guessed, k), y))
    assert sum(doubt is not None for doubt in doubts) == 0


@pytest.mark.parametrize(("share", "k"), [(0.97, 2), (0.6, 2), (0.97, 10), (0.6, 10), (0.97, 40)])
def test_models_with_all_columns_moved_are_refused(share, k):
    rng = np.random.default_rng(k)
    for _ in range(50):
        y = labels(rng, 1000, k, 100.0)
        guessed = right_on(rng, share, y, k)
        assert order_doubt(one_hot(guessed, k), y) is None
        assert order_doubt(one_hot((guessed + 1) % k, k), y).refused


def test_a_few_columns_that_are_exchanged_are_noted():
    rng = np.random.default_rng(0)
    for _ in range(50):
        y = labels(rng, 400, 10, 100.0)
        exchanged = np.array([1, 0, 2, 3, 4, 5, 6, 7, 8, 9])[right_on(rng, 0.95, y, 10)]
        doubt = order_doubt(one_hot(exchanged, 10), y)
        assert not doubt.refused
        assert "what it says of 0 fits 1, what it says of 1 fits 0 (a heuristic" in doubt.words
        assert "\n" not in doubt.words


def test_the_line_says_what_was_counted():
    y = np.repeat([0, 1], [60, 40])
    answers = np.log(one_hot(1 - y, 2) * 0.8 + 0.1).astype(np.float32)
    answers[0] = answers[0, ::-1]
    doubt = order_doubt(answers, y, ("no", "yes"))
    assert doubt.refused
    assert doubt.words == (
        "its answers are right on 1.0% of its 100 members, guessing the most frequent class would be on 60.0%, and "
        "with its columns in another order they would be on 99.0%: what it says of no fits yes, what it says of yes "
        "fits no; name the classes in the order of its columns in `classes`"
    )
    many = order_doubt(one_hot((np.arange(900) + 1) % 9, 9), np.arange(900) % 9)
    assert "9 of 9 columns fit another class; name" in many.words


def told(counts):
    """What is said of so many answers (column, class)."""
    columns, classes = np.divmod(np.repeat(np.arange(4), np.ravel(counts)), 2)
    return order_doubt(one_hot(columns, 2), classes)


@pytest.mark.parametrize(
    ("counts", "doubted"),
    [
        ([[0, 30], [30, 0]], True),
        ([[0, 6], [6, 0]], False),  # 12 records are no proof
        ([[0, 90], [10, 0]], True),  # nor is it hidden by a frequent class
        ([[10, 900], [90, 0]], True),
        ([[100, 900], [0, 0]], False),  # always the rarer class: turned, it would be the guess itself
        ([[98, 900], [2, 0]], False),  # and hardly better
        ([[80, 420], [20, 480]], False),  # a model that is too fond of the rarer class
        ([[45, 55], [55, 45]], False),
    ],
)
def test_an_order_must_beat_the_present_one_and_know_more_than_a_guess(counts, doubted):
    assert (told(counts) is not None) is doubted


def test_without_members_nothing_is_said():
    assert order_doubt(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) is None
