"""Purchase-100: who bought what, as yes-or-no features. The user fetches the file."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass

import numpy as np

from ..harness.types import Dataset
from ._bits import bits_of, labels_of
from ._cache import ByHand, by_hand
from ._records import check_records

ARCHIVE = ByHand(
    name="dataset_purchase.tgz",
    address="https://github.com/privacytrustlab/datasets/raw/master/dataset_purchase.tgz",
    blob="3efa7476ad5ed7ac3e558d28585a186b38fc5f19",
    terms="its publisher states no licence, and the purchases come from a Kaggle contest with rules of its own",
)
MEMBER = "dataset_purchase"
RECORDS = 197_324
FEATURES = 600
CLASSES = 100


@dataclass(frozen=True)
class Purchase100:
    """Shoppers and the 600 products that they bought or not, in 100 clusters of like shoppers.

    Made by Shokri et al. 2017 (arXiv:1610.05820, section VI-A) from Kaggle's "Acquire Valued Shoppers Challenge".

    Attributes:
        records: take the first so many, 1 to 197,324; None takes all.
    """

    records: int | None = None

    def __post_init__(self) -> None:
        check_records(self.records, RECORDS)

    def load(self) -> Dataset:
        """Return the records in the order of the file: float32 (n, 600) of 0 and 1, labels 0 to 99.

        Raises:
            UsageError: the file is not in the cache folder, or is another one.
        """
        path = by_hand(ARCHIVE)
        with tarfile.open(path) as archive:
            member = archive.extractfile(MEMBER)
            assert member is not None  # a plain file in an archive whose hash was checked
            bits, before = bits_of(member, FEATURES, self.records or RECORDS, path)
        return Dataset(
            name="purchase100",
            x=bits.astype(np.float32),
            y=labels_of(before, CLASSES, path),
            n_classes=CLASSES,
            bounds=(0.0, 1.0),
            public=False,
            licence="none stated by the publisher; not to be redistributed",
        )
