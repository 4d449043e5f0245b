"""Fashion-MNIST: 70,000 pictures of articles of clothing. Downloaded at first use."""

from __future__ import annotations

from dataclasses import dataclass

from ..harness.types import Dataset
from ._idx import RECORDS, published, read
from ._records import check_records

# The publisher's address has no https; the hashes are those in its README.
PARTS = published(
    "fashion_mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)


@dataclass(frozen=True)
class FashionMNIST:
    """Clothes of 28 x 28 pixels in ten classes (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747), in MNIST's format.

    Attributes:
        records: take the first so many, 1 to 70,000, the training part before the test part; None takes all.
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
            name="fashion_mnist",
            x=x,
            y=y,
            n_classes=10,
            bounds=(0.0, 1.0),
            public=True,
            licence="Fashion-MNIST, Zalando SE, MIT",
        )
