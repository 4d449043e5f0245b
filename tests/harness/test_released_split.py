"""Which records a released model is asked about."""

import dataclasses

import numpy as np
import pytest
from privassay.harness.errors import UsageError
from privassay.harness.splits import released_split, subset, torn_users, with_references
from privassay.harness.types import Split
from privassay.tests.support import small


@pytest.fixture(scope="module")
def digits():
    return small.Digits().load()


def told(digits, members, outsiders, **fields):
    truth = np.full(len(digits), -1, np.int8)
    truth[:members] = 1
    truth[members : members + outsiders] = 0
    return dataclasses.replace(digits, released_member=truth, **fields)


def test_everybody_is_asked_whose_membership_is_told(digits):
    data = told(digits, 300, 200)
    rows, split = released_split(data, 4, None, seed=0)
    part = subset(data, rows)
    assert len(part) == len(digits)
    assert len(split.pool) == 500
    assert np.array_equal(split.member[0], part.released_member[split.pool] == 1)
    assert np.array_equal(split.member[1], ~split.member[2])
    assert split.references(0).tolist() == [1, 2, 3, 4]
    assert split.references(1).tolist() == [0, 3, 4]
    assert (part.released_member[split.auxiliary] == -1).all()


def test_a_fifth_of_the_non_members_is_kept_apart_where_no_population_is_named(digits):
    data = told(digits, 297, 1500)
    rows, split = released_split(data, 0, None, seed=0)
    assert len(split.auxiliary) == 300
    assert split.member.shape == (1, 297 + 1200)
    assert (subset(data, rows).released_member[split.auxiliary] == 0).all()


def test_a_number_of_records_is_drawn_half_and_half(digits):
    data = told(digits, 700, 900)
    rows, split = released_split(data, 2, 200, seed=0)
    assert split.member[0].sum() == 100
    assert len(split.pool) == 200
    assert len(rows) == 200 + 197  # and the population


def test_a_number_of_records_is_drawn_in_whole_users(digits):
    """Users of 1 to 5 records: the number is of records, as in a pool that the run trains."""
    units = np.repeat(np.arange(len(digits)), 1 + np.arange(len(digits)) % 5)[: len(digits)]
    truth = (units % 2).astype(np.int8)
    data = dataclasses.replace(digits, units=units, released_member=truth)
    rows, split = released_split(data, 0, 300, seed=0)
    part = subset(data, rows)
    for side in (True, False):
        taken = split.pool[split.member[0] == side]
        assert 145 < len(taken) <= 150
        users = np.unique(part.units[taken])
        assert len(taken) == np.isin(units, users).sum()
    assert not np.isin(part.units[split.pool], part.units[split.auxiliary]).any()


# References that came with the model


def alone(n):
    return Split(np.arange(n) + 7, np.arange(7), np.arange(n)[None] % 2 == 0, released=True)


def test_records_that_lack_references_on_a_side_are_left_out():
    references = np.random.default_rng(0).random((8, 300)) < 0.5
    split, left_out = with_references(alone(300), references, np.arange(300))
    lacking = [j for j in range(300) if not 2 <= sum(references[:, j]) <= 6]
    assert left_out == len(lacking) > 3
    whole = np.setdiff1d(np.arange(300), lacking)
    np.testing.assert_array_equal(split.pool, whole + 7)
    np.testing.assert_array_equal(split.member[0], whole % 2 == 0)
    np.testing.assert_array_equal(split.member[1:], references[:, whole])
    np.testing.assert_array_equal(split.auxiliary, np.arange(7))


def test_none_is_left_out_of_complementary_halves_nor_where_too_few_would_be_left():
    half = np.random.default_rng(0).random((2, 300)) < 0.5
    pairs = np.stack([half[0], ~half[0], half[1], ~half[1]])
    assert with_references(alone(300), pairs, np.arange(300))[1] == 0
    assert with_references(alone(300), pairs[:3], np.arange(300))[1] == 0  # no record has two on each side
    assert with_references(alone(300), np.ones((6, 300), dtype=bool), np.arange(300))[1] == 0


def test_as_many_users_must_be_left_as_a_split_needs():
    """Ten users are too few, as in any split."""
    references = np.zeros((6, 300), dtype=bool)
    references[:3, :200] = True  # the last 100 records lack references that trained on them
    users = np.arange(300) // 20
    assert with_references(alone(300), references, np.arange(300))[1] == 100
    assert with_references(alone(300), references, users)[1] == 0


def test_users_that_references_tear_are_counted():
    users = np.array([5, 5, 9, 9, 9, 2])
    member = np.array([[1, 1, 0, 0, 0, 1], [1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=bool)
    assert torn_users(member, users).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("members", "outsiders", "pool", "words"),
    [
        (500, 0, None, "500 members and 0 non-members"),
        (10, 500, None, "must be at least 20 each"),
        (100, 500, 400, "100 members and 500 non-members to ask about; must be at least 200 each"),
    ],
)
def test_too_few_are_refused(digits, members, outsiders, pool, words):
    with pytest.raises(UsageError, match=words):
        released_split(told(digits, members, outsiders), 0, pool, seed=0)


def test_a_user_on_both_sides_is_named(digits):
    data = told(digits, 500, 500, units=np.arange(len(digits)) // 3)
    with pytest.raises(UsageError, match="user 166 has records on both sides"):
        released_split(data, 0, None, seed=0)


def test_membership_must_be_told(digits):
    with pytest.raises(UsageError, match="no column says who was a member"):
        released_split(digits, 0, None, seed=0)
