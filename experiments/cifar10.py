"""CIFAR-10: 60,000 small colour photographs. Downloaded at first use."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..harness.types import Dataset
from ._cache import Remote, fetch
from ._records import check_records

# The binary version: the Python version holds pickles, which may run code when they are read.
ARCHIVE = Remote(
    name="cifar-10-binary.tar.gz",
    address="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
)
MEMBERS = tuple(
    f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
)
RECORDS = 60_000
SHAPE = (3, 32, 32)
_LINE = 1 + 3 * 32 * 32
"""Bytes of a record: the label, then the red, green and blue pixels, row by row."""


@dataclass(frozen=True)
class CIFAR10:
    """Photographs of 32 x 32 pixels in ten classes of things and animals (Krizhevsky 2009).

    Attributes:
        records: take the first so many, 1 to 60,000, the five training batches before the test batch; None takes all.
    """

    records: int | None = None

    def __post_init__(self) -> None:
        check_records(self.records, RECORDS)

    def load(self) -> Dataset:
        """Return the images, float32 (n, 3, 32, 32) in [0, 1], with labels 0 to 9, in the order of the files.

        Raises:
            UsageError: the file is not in the cache folder and cannot be downloaded.
        """
        rows = read_batches(fetch(ARCHIVE))[: self.records]
        return Dataset(
            name="cifar10",
            x=rows[:, 1:].reshape(-1, *SHAPE) / np.float32(255),
            y=rows[:, 0].astype(np.int64),
            n_classes=10,
            bounds=(0.0, 1.0),
            public=True,
            licence="none stated by the publisher (Alex Krizhevsky, Learning Multiple Layers of Features, 2009)",
        )


def read_batches(path: Path) -> NDArray[np.uint8]:
    """Every record of the archive as the bytes that it has there: uint8 (n, 3073)."""
    contents = {}
    with tarfile.open(path) as archive:
        for member in archive:  # in the archive's order: to look one up by name would unpack it all again
            file = archive.extractfile(member) if member.name in MEMBERS else None
            if file is not None:
                contents[member.name] = file.read()
    return np.frombuffer(b"".join(contents[name] for name in MEMBERS), dtype=np.uint8).reshape(-1, _LINE)
