"""Results about users where one user has several records."""

import dataclasses

import numpy as np
import pytest
from privassay.harness.canaries import among_members, ordinary
from privassay.harness.errors import UsageError
from privassay.harness.evaluation import run_membership
from privassay.harness.groups import group_columns, varying_columns
from privassay.harness.splits import paired_halves
from privassay.harness.store import Store
from privassay.harness.training import train_pool
from privassay.harness.types import Dataset, ScoreTable
from privassay.harness.users import by_user, mean_of_users, of_users, users_of
from privassay.tests.support import small


def with_users(dataset, per_user=3):
    return dataclasses.replace(dataset, units=np.arange(len(dataset)) // per_user)


def test_mean_of_a_users_records_by_hand():
    table = ScoreTable(
        np.array([0, 1]),
        np.array([[1.0, 3.0, 10.0, -1.0], [2.0, 2.0, 0.0, 4.0]]),
        np.array([[True, True, False, True], [False, False, True, False]]),
        np.array([[True, True, True, False], [True, False, True, True]]),
    )
    found = by_user(table, np.array([0, 0, 1, 2]))
    assert found.scores[0, :2].tolist() == [2.0, 10.0]
    assert found.scores[1].tolist() == [2.0, 0.0, 4.0]
    assert found.scored.tolist() == [[True, True, False], [True, True, True]]
    assert found.member.tolist() == [[True, False, True], [False, True, False]]


def test_no_user_is_on_both_sides_and_the_halves_are_complements():
    dataset = with_users(small.Digits().load())
    split = paired_halves(dataset, 6, 600, seed=1)
    units = dataset.units[split.pool]
    assert not set(units) & set(dataset.units[split.auxiliary])
    assert len(split.pool) <= 600
    for mask in split.member:
        assert not set(units[mask]) & set(units[~mask])
    assert np.array_equal(split.member[0], ~split.member[1])
    assert 0.45 < split.member[0].mean() < 0.55


def test_without_users_the_split_is_as_ever():
    dataset = small.Digits().load()
    own = dataclasses.replace(dataset, units=np.arange(len(dataset)))
    one, other = (paired_halves(d, 4, 200, seed=3) for d in (dataset, own))
    assert one.sha256 == other.sha256


def test_attacks_are_measured_on_users(tmp_path):
    plain = small.setting(tmp_path, records=210)
    dataset = with_users(plain.dataset)
    split = paired_halves(dataset, 6, 210, seed=0)
    where = dataclasses.replace(plain, dataset=dataset, split=split, store=Store(tmp_path / "users"))
    pool = train_pool(small.spec(), (dataset, split), where.store, 0, where.observe)
    for name in ("loss", "art_black_box_knows_members"):
        table = run_membership(small.attack(name), pool, where)
        assert table.scores.shape == (6, len(where.subjects)) == (6, len(split.pool) // 3)
        users = users_of(dataset, split.pool)
        for user in range(5):
            assert np.array_equal(table.member[:, user], split.member[:, users == user].all(axis=1))
    told = ~table.scored[0]
    assert told.sum() == pytest.approx(len(where.subjects) / 2, abs=1)  # whole users were told, none in part


def test_columns_in_which_a_user_has_two_values_are_left_out():
    sex = np.array(["f", "f", "m", "m"])
    day = np.array(["mon", "tue", "mon", "mon"])
    dataset = Dataset(
        "d", np.zeros((4, 1), np.float32), np.array([0, 1, 1, 1]), 2, (0.0, 1.0), False, "none",
        sensitive={"sex": sex, "day": day}, units=np.array([7, 7, 9, 9]),
    )  # fmt: skip
    columns = group_columns(dataset, np.arange(4))
    assert {name: values.tolist() for name, values in columns.items()} == {"sex": ["f", "m"]}
    said = "1 of 2 users have several values of it; results are about users"
    assert varying_columns(dataset, np.arange(4)) == {"class": said, "day": said}
    assert varying_columns(dataset, np.array([0, 2, 3])) == {}
    assert varying_columns(dataclasses.replace(dataset, units=None), np.arange(4)) == {}


def test_means_of_users_by_hand():
    users = np.array([1, 0, 1, 2, 1])
    columns = np.array([[1, 0.1], [5, 0.1], [2, 0.1], [7, 0.1], [6, 0.1]], np.float32)
    found = mean_of_users(columns, users)
    assert found[:, 0].tolist() == [5.0, 3.0, 7.0]
    assert found.dtype == np.float32
    assert (found[:, 1] == np.float32(0.1)).all()  # no number of records shows in it
    masks = np.array([[True, False, True, False, True], [False, False, False, True, False]])
    assert of_users(masks, users).tolist() == [[False, True, False], [False, False, True]]


def test_wrong_labels_are_on_whole_users_and_their_row_of_groups_stays():
    dataset = dataclasses.replace(small.Digits().load(), sensitive={})
    units = np.repeat(np.arange(len(dataset)), np.resize([1, 12, 3, 7], len(dataset)))[: len(dataset)]
    dataset = dataclasses.replace(dataset, units=units)
    pool = paired_halves(dataset, 2, 800, seed=0).pool
    found = among_members(dataset, pool, 100, seed=3)
    wrong = np.flatnonzero(found.y != dataset.y)
    assert 100 - 12 < len(wrong) <= 100
    assert np.isin(wrong, pool).all()
    assert not set(units[wrong]) & set(np.delete(units, wrong))
    assert np.array_equal(np.flatnonzero(~ordinary(found, pool)), np.searchsorted(pool, wrong))
    column = group_columns(found, pool)["canaries"]
    assert (column == "canary").sum() == len(set(units[wrong]))
    tens = dataclasses.replace(dataset, units=np.arange(len(dataset)) // 10)
    assert (among_members(tens, np.arange(400), 25, seed=3).y != tens.y).sum() == 20
    with pytest.raises(UsageError, match="canaries=9: must be at least 10, the records of the smallest user"):
        among_members(tens, np.arange(400), 9, seed=3)
