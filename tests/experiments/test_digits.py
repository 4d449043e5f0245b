import numpy as np
import pytest
from privassay.experiments.digits import Digits
from privassay.harness.types import Dataset
from sklearn.datasets import load_digits


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return Digits().load()


def test_records_are_images_within_bounds(digits):
    assert digits.x.shape == (1797, 8, 8)
    assert digits.x.dtype == np.float32
    assert digits.shape == (8, 8)
    assert (digits.x.min(), digits.x.max()) == digits.bounds


def test_labels_cover_all_classes(digits):
    assert digits.y.dtype == np.int64
    assert np.unique(digits.y).tolist() == list(range(digits.n_classes))


def test_values_are_scikit_learns_over_sixteen(digits):
    np.testing.assert_array_equal(digits.x.reshape(-1, 64) * 16, load_digits().data)


def test_it_may_be_shown_and_says_under_what_terms(digits):
    assert digits.public
    assert "CC BY 4.0" in digits.licence


def test_loading_twice_gives_the_same_digest(digits):
    assert Digits().load().sha256 == digits.sha256
