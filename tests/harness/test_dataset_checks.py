"""Data that would make every later number meaningless is refused."""

import dataclasses

import numpy as np
import pytest
from privassay.harness.dataset_checks import Duplicates, check_dataset, duplicates, duplicates_across
from privassay.harness.errors import UsageError
from privassay.harness.splits import paired_halves
from privassay.harness.types import ColumnsToFit, Dataset, Split


def dataset(**changes):
    x = np.random.default_rng(0).random((10, 3), dtype=np.float32)
    good = Dataset("toy", x, np.arange(10, dtype=np.int64) % 2, 2, (0.0, 1.0), True, "none")
    return dataclasses.replace(good, **changes)


def with_nan():
    x = np.random.default_rng(0).random((10, 3), dtype=np.float32)
    x[4, 1] = np.nan
    return x


FLAGS = np.array([1, 0, 1, 0, 1, 0, 1, 0, -1, -1], dtype=np.int8)
USERS = np.array([5, 6, 5, 6, 7, 8, 7, 8, 9, 9], dtype=np.int64)


def with_amounts():
    """The first column holds amounts, the second codes."""
    x = np.random.default_rng(0).random((10, 3), dtype=np.float32)
    x[:, 0], x[:, 1] = 1000 * x[:, 0], np.arange(10) % 3
    return x


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"released_member": FLAGS, "units": USERS},
        {"released_member": FLAGS[:8], "x": np.zeros((8, 3), np.float32), "y": np.arange(8) % 2},
        {"units": np.zeros(10, np.int64), "sensitive": {"sex": np.array(["f"] * 10)}},
        {"x": with_amounts(), "to_fit": ColumnsToFit((0,), (1,))},
        {"to_fit": ColumnsToFit((0, 1, 2))},
    ],
)
def test_sound_data_pass(changes):
    check_dataset(dataset(**changes), "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.empty((0, 3), np.float32), "y": np.empty(0, np.int64)}, "no records"),
        ({"x": with_nan()}, "record 4 holds NaN or infinity"),
        ({"x": np.full((10, 3), 2, np.float32)}, r"outside the bounds \[0, 1\]"),
        ({"y": np.full(10, 1, np.int64)}, "all 10 records have label 1"),
        ({"y": np.arange(10, dtype=np.int64)}, r"labels span 0..9, must lie in 0..1"),
        ({"y": np.zeros(9, np.int64)}, "10 records but 9 labels"),
        ({"x": with_amounts()}, r"outside the bounds \[0, 1\]"),
        ({"x": with_amounts(), "to_fit": ColumnsToFit((0,))}, r"features span \[0, 2\], outside the bounds"),
        ({"to_fit": ColumnsToFit((3,))}, r"columns to fit \(3,\): must be different ones of 0..2"),
        ({"to_fit": ColumnsToFit((0,), (0,))}, "must be different ones"),
        ({"to_fit": ColumnsToFit((), (1,))}, "column 1 is to be encoded but does not hold codes"),
        (
            {"x": np.zeros((10, 2, 2), np.float32), "to_fit": ColumnsToFit((0,))},
            r"shape \(2, 2\) have no columns to fit",
        ),
        ({"units": USERS[:9]}, r"units has shape \(9,\): must be \(10,\)"),
        ({"units": USERS.astype(np.float64)}, "units has type float64: must be int64"),
        ({"released_member": FLAGS[:9]}, r"released_member has shape \(9,\)"),
        ({"released_member": FLAGS.astype(np.int64)}, "must be int8"),
        ({"released_member": np.arange(10, dtype=np.int8)}, "each 1, 0 or -1"),
        ({"released_member": np.abs(FLAGS) * 0 + np.int8(1)}, "must hold members"),
        ({"released_member": -np.abs(FLAGS)}, "must hold members"),
        ({"released_member": FLAGS, "units": USERS // 2}, "user 3 has records that are members and records that are"),
        ({"sensitive": {"sex": np.array(["f"] * 9)}}, r"sensitive column 'sex' has shape \(9,\)"),
    ],
)
def test_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        check_dataset(dataset(**changes), "here")


def pairs_of_equals(x, y):
    """Every record against every other one."""
    n = len(x)
    return np.array([[i != j and (x[i] == x[j]).all() and y[i] == y[j] for j in range(n)] for i in range(n)])


def coarse(records=60, seed=0):
    """Few enough different records that many repeat."""
    rng = np.random.default_rng(seed)
    return dataset(x=rng.integers(0, 2, (records, 5)).astype(np.float32), y=rng.integers(0, 2, records))


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_are_those_that_comparing_all_pairs_finds(seed):
    data = coarse(seed=seed)
    equal = pairs_of_equals(data.x, data.y)
    assert 0 < duplicates(data) == equal.any(axis=1).sum() < 60
    split = paired_halves(data, 4, 40, seed)
    pool, others = split.pool, split.auxiliary
    across = [(equal[np.ix_(pool, pool)] & (member[:, None] != member)).any(axis=1).sum() for member in split.member]
    assert duplicates_across(data, split) == Duplicates(
        records=equal.any(axis=1).sum(),
        audited=equal[np.ix_(pool, pool)].any(axis=1).sum(),
        across=max(across),
        auxiliary=equal[np.ix_(others, pool)].any(axis=1).sum(),
    )
    assert duplicates_across(data, split).across > 0


def test_a_record_with_another_label_or_another_bit_is_no_duplicate():
    x = np.full((4, 3), 0.5, np.float32)
    x[2, 1] = np.nextafter(np.float32(0.5), np.float32(1))
    assert duplicates(dataset(x=x, y=np.array([0, 1, 0, 2]))) == 0
    assert duplicates(dataset(x=x, y=np.array([0, 0, 0, 1]))) == 2


def test_zero_is_zero_with_any_sign():
    x = np.array([[0.0, 1.0], [-0.0, 1.0], [0.5, 1.0]], np.float32)
    assert duplicates(dataset(x=x, y=np.zeros(3, np.int64))) == 2


def test_pictures_and_more_records_than_one_block():
    x = np.random.default_rng(0).random((5000, 4, 4), dtype=np.float32)
    x[4999] = x[0]
    assert duplicates(dataset(x=x, y=np.zeros(5000, np.int64))) == 2


def test_twins_on_one_side_are_not_across():
    x = np.arange(6, dtype=np.float32).reshape(6, 1) / 6
    x[1] = x[0]
    data = dataset(x=x, y=np.zeros(6, np.int64))
    member = np.array([[True, True, False, False]])
    assert duplicates_across(data, Split(np.arange(4), np.arange(4, 6), member)) == Duplicates(2, 2, 0, 0)
    assert duplicates_across(data, Split(np.arange(1, 5), np.array([0, 5]), member)) == Duplicates(2, 0, 0, 1)
