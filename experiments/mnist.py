"""MNIST: 70,000 handwritten digits. Downloaded at first use."""

from __future__ import annotations

from dataclasses import dataclass

from ..harness.types import Dataset
from ._idx import RECORDS, published, read
from ._records import check_records

PARTS = published(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)
IMAGES, LABELS = PARTS.images, PARTS.labels


@dataclass(frozen=True)
class MNIST:
    """Digits of 28 x 28 pixels in ten classes (LeCun, Cortes and Burges 1998), the training part before the test part.

    Attributes:
        records: take the first so many, 1 to 70,000; None takes all.
    """

    records: int | None = None

    def __post_init__(self) -> None:
        check_records(self.records, RECORDS)

    def load(self) -> Dataset:
        """Return the images, float32 (n, 28, 28) in [0, 1], with labels 0 to 9, in the order of the files.

        Raises:
            UsageError: a file is not in the cache folder and cannot be downloaded.
        """
        x, y = read(PARTS, self.records)
        return Dataset(
            name="mnist",
            x=x,
            y=y,
            n_classes=10,
            bounds=(0.0, 1.0),
            public=True,
            licence="MNIST, Yann LeCun, Corinna Cortes and Christopher Burges, CC BY-SA 3.0",
        )
