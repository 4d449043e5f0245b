"""Data that would make every later number meaningless is refused."""

import dataclasses

import numpy as np
import pytest
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import UsageError
from privassay.harness.types import Dataset


def dataset(**changes):
    x = np.random.default_rng(0).random((10, 3), dtype=np.float32)
    good = Dataset("toy", x, np.arange(10, dtype=np.int64) % 2, 2, (0.0, 1.0), True, "none")
    return dataclasses.replace(good, **changes)


def with_nan():
    x = np.random.default_rng(0).random((10, 3), dtype=np.float32)
    x[4, 1] = np.nan
    return x


def test_sound_data_pass():
    check_dataset(dataset(), "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.empty((0, 3), np.float32), "y": np.empty(0, np.int64)}, "no records"),
        ({"x": with_nan()}, "record 4 holds NaN or infinity"),
        ({"x": np.full((10, 3), 2, np.float32)}, r"outside the bounds \[0, 1\]"),
        ({"y": np.full(10, 1, np.int64)}, "all 10 records have label 1"),
        ({"y": np.arange(10, dtype=np.int64)}, r"labels span 0..9, must lie in 0..1"),
        ({"y": np.zeros(9, np.int64)}, "10 records but 9 labels"),
    ],
)
def test_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        check_dataset(dataset(**changes), "here")
