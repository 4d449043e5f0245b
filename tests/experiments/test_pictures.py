"""Fashion-MNIST and CIFAR-10: parsers on small files in the real format, loaders on the published files if there."""

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest
from privassay.experiments import _idx, cifar10, fashion_mnist
from privassay.experiments._cache import Remote
from privassay.harness.cache import cache_folder
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import UsageError


def idx(values):
    """The format as its author describes it: 0, 0, 8 for unsigned bytes, dimensions, sizes, values."""
    sizes = struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes())


def test_two_parts_in_idx_files(tmp_path, monkeypatch):
    from hashlib import md5

    monkeypatch.setenv("PRIVASSAY_CACHE", str(tmp_path))
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (7, 3, 5)).astype(np.uint8), rng.integers(0, 10, 7).astype(np.uint8)
    contents = [idx(part) for part in (images[:4], labels[:4], images[4:], labels[4:])]
    for name, content in zip(_idx.NAMES, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    parts = _idx.published(".", "http://127.0.0.1:1/", [md5(content).hexdigest() for content in contents])
    x, y = _idx.read(parts, None)
    np.testing.assert_allclose(x, images / 255, rtol=1e-6)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(y, labels)
    few, _ = _idx.read(parts, 5)
    np.testing.assert_array_equal(few, x[:5])


def test_the_four_files_of_fashion_mnist_are_not_mixed_up():
    images, labels = fashion_mnist.PARTS.images, fashion_mnist.PARTS.labels
    assert [remote.name for remote in images] == [f"fashion_mnist/{name}" for name in (_idx.NAMES[0], _idx.NAMES[2])]
    # The table of hashes in the publisher's README.
    assert [remote.md5[:8] for remote in images] == ["8d4fb7e6", "bef4ecab"]
    assert [remote.md5[:8] for remote in labels] == ["25c81989", "bb300cfd"]
    assert labels[1] == Remote(
        "fashion_mnist/t10k-labels-idx1-ubyte.gz",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
        "bb300cfdad3c16e7a12a480ee83cd310",
    )


def skip_without(*remotes):
    for remote in remotes:
        path = cache_folder() / remote.name
        if not path.is_file():
            pytest.skip(f"{path} is not there: it is not downloaded for tests")


def test_published_fashion_mnist():
    skip_without(*fashion_mnist.PARTS.images, *fashion_mnist.PARTS.labels)
    data = fashion_mnist.FashionMNIST().load()
    check_dataset(data, "here")
    assert data.x.shape == (70_000, 28, 28)
    assert np.bincount(data.y).tolist() == [7000] * 10


def archive(path, batches):
    """A CIFAR-10 archive: batches by name, in the given order, among other files."""
    with tarfile.open(path, "w:gz") as file:
        for name, content in {"cifar-10-batches-bin/readme.html": b"text", **batches}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def test_records_of_cifar10_are_a_label_and_three_planes_in_the_order_of_batches(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32)).astype(np.uint8)
    labels = np.arange(12) % 10
    records = [bytes([label]) + image.tobytes() for label, image in zip(labels, images, strict=True)]
    batches = {name: b"".join(records[2 * i : 2 * i + 2]) for i, name in enumerate(cifar10.MEMBERS)}
    archive(tmp_path / "cifar.tar.gz", dict(reversed(batches.items())))  # the real archive has an order of its own
    rows = cifar10.read_batches(tmp_path / "cifar.tar.gz")
    assert rows[:, 0].tolist() == labels.tolist()
    np.testing.assert_array_equal(rows[:, 1:].reshape(-1, *cifar10.SHAPE), images)


def test_published_cifar10():
    skip_without(cifar10.ARCHIVE)
    data = cifar10.CIFAR10().load()
    check_dataset(data, "here")
    assert data.x.shape == (60_000, 3, 32, 32)
    assert np.bincount(data.y).tolist() == [6000] * 10


@pytest.mark.parametrize(
    ("source", "records"), [(fashion_mnist.FashionMNIST, 70_001), (cifar10.CIFAR10, 60_001), (cifar10.CIFAR10, 0)]
)
def test_a_number_of_records_that_is_not_there_is_refused(source, records):
    with pytest.raises(UsageError, match=f"records={records}: must be "):
        source(records=records)
