"""Texas-100: hospital stays as yes-or-no features. The user fetches the file."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from itertools import islice
from typing import IO

import numpy as np

from ..harness.types import Dataset
from ._bits import bits_of, labels_of
from ._cache import ByHand, by_hand
from ._records import check_records

ARCHIVE = ByHand(
    name="dataset_texas.tgz",
    address="https://github.com/privacytrustlab/datasets/raw/master/dataset_texas.tgz",
    blob="966f7ff40b24cf5912ff84759aab9adb8c25f30e",
    terms=(
        "the terms of the Texas Department of State Health Services forbid to redistribute its hospital discharge "
        "records and to identify patients"
    ),
)
FEATURE_MEMBER = "texas/100/feats"
LABEL_MEMBER = "texas/100/labels"
RECORDS = 67_330
FEATURES = 6169
CLASSES = 100


@dataclass(frozen=True)
class Texas100:
    """Hospital stays with 6169 yes-or-no features; the class is one of the 100 most frequent procedures.

    Made by Shokri et al. 2017 (arXiv:1610.05820, section VI-A) from the Texas hospital discharge data of 2006 to 2009.
    All records take 1.7 GB of memory.

    Attributes:
        records: take the first so many, 1 to 67,330; None takes all.
    """

    records: int | None = None

    def __post_init__(self) -> None:
        check_records(self.records, RECORDS)

    def load(self) -> Dataset:
        """Return the records in the order of the file: float32 (n, 6169) of 0 and 1, labels 0 to 99.

        Raises:
            UsageError: the file is not in the cache folder, or is another one.
        """
        path, records = by_hand(ARCHIVE), self.records or RECORDS
        with tarfile.open(path) as archive:
            bits, _ = bits_of(_opened(archive, FEATURE_MEMBER), FEATURES, records, path)
            y = labels_of((line.strip() for line in islice(_opened(archive, LABEL_MEMBER), records)), CLASSES, path)
        return Dataset(
            name="texas100",
            x=bits.astype(np.float32),
            y=y,
            n_classes=CLASSES,
            bounds=(0.0, 1.0),
            public=False,
            licence="Texas Department of State Health Services: not to be redistributed, patients not to be identified",
        )


def _opened(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    member = archive.extractfile(name)
    assert member is not None  # a plain file in an archive whose hash was checked
    return member
