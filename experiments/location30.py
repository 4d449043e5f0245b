"""Location-30: who was where, as yes-or-no features. Downloaded at first use."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass

import numpy as np

from ..harness.types import Dataset
from ._cache import Remote, fetch

ARCHIVE = Remote(
    name="dataset_location.tgz",
    address="https://github.com/privacytrustlab/datasets/raw/master/dataset_location.tgz",
    md5="66851c781a61f51b35ead292b5f303e3",
)
MEMBER = "bangkok"
FEATURES = 446
CLASSES = 30
_LINE = 2 * FEATURES - 1
"""Characters of the features on a line: digits with commas between them."""


@dataclass(frozen=True)
class Location30:
    """5010 people's visits to 446 places and kinds of places in Bangkok, in 30 clusters of like people.

    Made from Foursquare check-ins by Shokri et al. 2017 (arXiv:1610.05820, section VI-A), and since then a usual
    benchmark of membership inference on records about people. A feature tells whether a person was seen at a place or
    a kind of place. The publisher states no licence: the file is downloaded, never shipped.
    """

    def load(self) -> Dataset:
        """Return the records in the order of the file: float32 (5010, 446) of 0 and 1, labels 0 to 29.

        Raises:
            UsageError: the file is not in the cache folder and cannot be downloaded.
        """
        with tarfile.open(fetch(ARCHIVE)) as archive:
            member = archive.extractfile(MEMBER)
            assert member is not None  # a plain file in an archive whose hash was checked
            lines = member.read().splitlines()
        # A line is `"label",0,1,...`: all features have one digit, so the characters are the matrix.
        digits = np.frombuffer(b"".join(line[-_LINE:] for line in lines), dtype=np.uint8)
        bits = digits.reshape(len(lines), _LINE)[:, ::2] - ord("0")
        labels = [int(line[: -_LINE - 1].strip(b'"')) for line in lines]
        return Dataset(
            name="location30",
            x=bits.astype(np.float32),
            y=np.array(labels, dtype=np.int64) - 1,
            n_classes=CLASSES,
            bounds=(0.0, 1.0),
            public=False,
            licence="none stated by the publisher",
        )
