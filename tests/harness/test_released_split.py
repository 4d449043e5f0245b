"""Which records a released model is asked about."""

import dataclasses

import numpy as np
import pytest
from privassay.harness.errors import UsageError
from privassay.harness.splits import released_split, subset
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


@pytest.mark.parametrize(
    ("members", "outsiders", "pool", "words"),
    [
        (500, 0, None, "500 members and 0 non-members"),
        (10, 500, None, "must be at least 20 each"),
        (100, 500, 400, "100 members and 200 non-members to ask about; must be at least 200 each"),
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
