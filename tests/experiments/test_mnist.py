import gzip

import numpy as np
import pytest
from privassay.experiments.mnist import IMAGES, LABELS, MNIST
from privassay.harness.cache import cache_folder
from privassay.harness.errors import UsageError


@pytest.fixture(scope="module")
def mnist():
    absent = [path for path in (cache_folder() / remote.name for remote in (*IMAGES, *LABELS)) if not path.is_file()]
    if absent:
        pytest.skip(f"{absent[0]} is not there: MNIST is not downloaded for tests")
    return MNIST().load()


def raw(remote, header):
    return np.frombuffer(gzip.decompress((cache_folder() / remote.name).read_bytes())[header:], dtype=np.uint8)


def test_the_images_are_the_bytes_of_both_parts_over_255(mnist):
    assert mnist.x.shape == (70_000, 28, 28)
    assert mnist.x.dtype == np.float32
    for remote, part in ((IMAGES[0], mnist.x[:60_000]), (IMAGES[1], mnist.x[60_000:])):
        # Headers as published: magic number and three sizes of four bytes for images, one size for labels.
        assert np.array_equal(np.rint(part.reshape(-1) * np.float32(255)).astype(np.uint8), raw(remote, 16))
    assert (mnist.x.min(), mnist.x.max()) == mnist.bounds == (0.0, 1.0)


def test_the_labels_belong_to_the_images(mnist):
    assert mnist.y.dtype == np.int64
    np.testing.assert_array_equal(mnist.y, np.concatenate([raw(remote, 8) for remote in LABELS]))
    assert np.bincount(mnist.y).tolist() == [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
    # Nearest mean image of the training part, on the test part: 82 %, if images and labels are aligned.
    means = np.stack([mnist.x[:60_000][mnist.y[:60_000] == c].mean(axis=0).ravel() for c in range(10)])
    test = mnist.x[60_000:].reshape(-1, 784)
    nearest = (test @ means.T - (means**2).sum(axis=1) / 2).argmax(axis=1)
    assert (nearest == mnist.y[60_000:]).mean() == pytest.approx(0.8203, abs=0.001)


def test_the_first_so_many_are_the_same_every_time(mnist):
    few = MNIST(records=500).load()
    np.testing.assert_array_equal(few.x, mnist.x[:500])
    np.testing.assert_array_equal(few.y, mnist.y[:500])


def test_it_may_be_shown_and_says_under_what_terms(mnist):
    assert mnist.public
    assert "CC BY-SA 3.0" in mnist.licence


@pytest.mark.parametrize("records", [0, -1, 70_001])
def test_a_number_of_records_that_is_not_there_is_refused(records):
    with pytest.raises(UsageError, match=f"records={records}: must be "):
        MNIST(records=records)
