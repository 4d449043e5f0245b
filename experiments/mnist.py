"""MNIST: 70,000 handwritten digits. Downloaded at first use."""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..harness.checks import positive, require
from ..harness.types import Dataset
from ._cache import Remote, fetch

RECORDS = 70_000
_ADDRESS = "https://ossci-datasets.s3.amazonaws.com/mnist/"


def _published(name: str, md5: str) -> Remote:
    return Remote(f"mnist/{name}", _ADDRESS + name, md5)


IMAGES = (
    _published("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    _published("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
)
LABELS = (
    _published("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    _published("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)


@dataclass(frozen=True)
class MNIST:
    """Digits of 28 x 28 pixels in ten classes (LeCun, Cortes and Burges 1998), the training part before the test part.

    Attributes:
        records: take the first so many, 1 to 70,000; None takes all.
    """

    records: int | None = None

    def __post_init__(self) -> None:
        if self.records is not None:
            positive(records=self.records)
            require(self.records <= RECORDS, "records", self.records, f"at most {RECORDS}")

    def load(self) -> Dataset:
        """Return the images, float32 (n, 28, 28) in [0, 1], with labels 0 to 9, in the order of the files.

        Raises:
            UsageError: a file is not in the cache folder and cannot be downloaded.
        """
        images = np.concatenate([_idx(remote) for remote in IMAGES])[: self.records]
        labels = np.concatenate([_idx(remote) for remote in LABELS])[: self.records]
        return Dataset(
            name="mnist",
            x=images / np.float32(255),
            y=labels.astype(np.int64),
            n_classes=10,
            bounds=(0.0, 1.0),
            public=True,
            licence="MNIST, Yann LeCun, Corinna Cortes and Christopher Burges, CC BY-SA 3.0",
        )


def _idx(remote: Remote) -> NDArray[np.uint8]:
    """An idx file of bytes: two zeros, the type, the number of dimensions, their sizes (big-endian), the values."""
    content = gzip.decompress(fetch(remote).read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape.tolist())
