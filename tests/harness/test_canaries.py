"""Canaries: each kind inserts what it says, by coins that nothing else can tell."""

import dataclasses

import numpy as np
import pytest
from privassay.experiments.digits import Digits
from privassay.harness import canaries
from privassay.harness.canaries import among_members, ordinary
from privassay.harness.errors import UsageError


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


@pytest.fixture(scope="module")
def flat(digits):
    return dataclasses.replace(digits, x=digits.x.reshape(len(digits), -1))


def rows_for(kind, m, start=300):
    return np.arange(start, start + m * canaries.copies_of(kind))


@pytest.mark.parametrize("kind", canaries.KINDS)
def test_all_other_records_stay_as_they_are(flat, kind):
    made = canaries.insert(flat, rows_for(kind, 20), kind, seed=3)
    others = np.setdiff1d(np.arange(len(flat)), made.rows)
    np.testing.assert_array_equal(made.dataset.x[others][:, :64], flat.x[others])
    np.testing.assert_array_equal(made.dataset.y[others], flat.y[others])
    assert (made.dataset.x[others][:, 64:] == 0).all()
    assert made.dataset.x.dtype == np.float32
    assert made.dataset.sha256 != flat.sha256
    assert (len(made), made.kind, made.included.shape) == (20, kind, (20,))
    low, high = flat.bounds
    assert ((made.dataset.x >= low) & (made.dataset.x <= high)).all()
    assert ((made.dataset.y >= 0) & (made.dataset.y < flat.n_classes)).all()


def test_mislabelled_is_a_real_record_with_any_of_the_wrong_labels(digits):
    made = canaries.insert(digits, rows_for("mislabelled", 900), "mislabelled", seed=0)
    own = made.rows[:, 0]
    np.testing.assert_array_equal(made.dataset.x[own], digits.x[own])
    shift = (made.dataset.y[own] - digits.y[own]) % digits.n_classes
    counts = np.bincount(shift, minlength=10)
    assert counts[0] == 0
    assert ((counts[1:] - 100) ** 2 / 100).sum() < 26.1  # chi-square with 8 degrees of freedom at 0.001


def test_duplicates_are_one_canary_in_two_rows_on_one_coin(digits):
    kind = "mislabelled_duplicates"
    made = canaries.insert(digits, rows_for(kind, 30), kind, seed=0)
    assert made.copies == 2
    first, second = made.rows.T
    np.testing.assert_array_equal(made.dataset.x[first], digits.x[first])
    np.testing.assert_array_equal(made.dataset.x[second], digits.x[first])
    np.testing.assert_array_equal(made.dataset.y[second], made.dataset.y[first])
    assert (made.dataset.y[first] != digits.y[first]).all()
    taken = made.taken(made.included)
    assert len(taken) == 2 * made.included.sum()
    np.testing.assert_array_equal(np.isin(made.rows, taken), np.repeat(made.included[:, None], 2, axis=1))


def test_noise_blanks_and_own_features(flat):
    low, high = flat.bounds
    noise = canaries.insert(flat, rows_for("out_of_distribution", 200), "out_of_distribution", seed=0)
    x = noise.dataset.x[noise.rows[:, 0]]
    assert abs(x.mean() - (low + high) / 2) < 0.01
    assert abs(x.var() - (high - low) ** 2 / 12) < 0.01
    assert len(np.unique(noise.dataset.y[noise.rows])) == 10
    blank = canaries.insert(flat, rows_for("blank", 20), "blank", seed=0)
    assert (blank.dataset.x[blank.rows[:, 0]] == (low + high) / 2).all()
    own = canaries.insert(flat, rows_for("own_feature", 20), "own_feature", seed=0)
    assert own.dataset.shape == (64 + 20,)
    np.testing.assert_array_equal(own.dataset.x[own.rows[:, 0]], high * np.eye(84)[64:])


def test_own_features_need_flat_records_around_zero(digits, flat):
    with pytest.raises(UsageError, match=r"records of shape \(8, 8\) are not flat rows"):
        canaries.insert(digits, np.arange(5), "own_feature", seed=0)
    shifted = dataclasses.replace(flat, x=flat.x + 1, bounds=(1.0, 2.0))
    with pytest.raises(UsageError, match="absent features are 0"):
        canaries.insert(shifted, np.arange(5), "own_feature", seed=0)


@pytest.mark.parametrize("rows", [[], [1, 1, 2, 3], [1, 2, 3]])
def test_rows_that_do_not_fit(digits, rows):
    with pytest.raises(UsageError, match="must be distinct, 2 for each canary"):
        canaries.insert(digits, np.array(rows, dtype=np.int64), "mislabelled_duplicates", seed=0)
    with pytest.raises(UsageError, match="kind='golden'"):
        canaries.insert(digits, np.arange(4), "golden", seed=0)


def test_the_same_seed_gives_the_same(digits):
    first, again, other = (canaries.insert(digits, np.arange(50), "mislabelled", seed) for seed in (5, 5, 6))
    assert first.dataset.sha256 == again.dataset.sha256
    np.testing.assert_array_equal(first.included, again.included)
    assert first.dataset.sha256 != other.dataset.sha256
    assert (first.included != other.included).any()


def test_coins_depend_on_nothing_but_seed_and_run(digits, flat):
    drawn = canaries.coins(50, seed=7)
    for data, kind, start in ((digits, "mislabelled", 0), (digits, "blank", 900), (flat, "own_feature", 300)):
        np.testing.assert_array_equal(canaries.insert(data, rows_for(kind, 50, start), kind, 7).included, drawn)
    assert (canaries.coins(50, 7, run=1) != drawn).any()


def test_coins_are_fair_and_independent_of_each_other_and_of_the_labels(digits):
    seeds, few = 2000, dataclasses.replace(digits, x=digits.x[:10], y=digits.y[:10])
    made = [canaries.insert(few, np.arange(10), "mislabelled", seed) for seed in range(seeds)]
    tossed = np.array([np.concatenate([one.included, canaries.coins(10, seed, 1)]) for seed, one in enumerate(made)])
    labels = np.array([one.dataset.y[:10] for one in made])
    five_sigma = 5 / np.sqrt(seeds)
    assert np.abs(2 * tossed.mean(axis=0) - 1).max() < five_sigma
    together = np.corrcoef(np.hstack([tossed, labels]).T)
    assert np.abs(together - np.eye(30)).max() < five_sigma


@pytest.mark.parametrize(("delta", "most"), [(1e-5, 1000), (1e-3, 10), (3e-5, 333), (1e-6, 10_000)])
def test_the_number_of_canaries_is_bounded_by_delta(delta, most):
    assert canaries.most_canaries(delta) == most
    canaries.check_number(most, delta)
    with pytest.raises(UsageError, match=f"must be at most {most}, .* lose most of its strength"):
        canaries.check_number(most + 1, delta)


def test_canaries_among_the_members_of_a_pool():
    dataset = Digits().load()
    pool = np.arange(100, 500)
    found = among_members(dataset, pool, 50, seed=3)
    rows = np.flatnonzero(found.y != dataset.y)
    assert len(rows) == 50
    assert np.isin(rows, pool).all()
    assert np.array_equal(found.x, dataset.x)
    assert np.array_equal(np.flatnonzero(~ordinary(found, pool)), rows - 100)
    assert found.sensitive["canaries"][rows].tolist() == ["canary"] * 50
    assert ordinary(dataset, pool).all()
