"""MNIST and what was published in its format: two parts of images and labels in idx files."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..harness.types import Float32, Ints
from ._cache import Remote, fetch

RECORDS = 70_000
NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@dataclass(frozen=True)
class Parts:
    """The four files of a data set: images and labels of the training part, then of the test part."""

    images: tuple[Remote, Remote]
    labels: tuple[Remote, Remote]


def published(folder: str, address: str, md5: Sequence[str]) -> Parts:
    """The four files below one address, with the hashes in the order of `NAMES`."""
    files = [Remote(f"{folder}/{name}", address + name, digest) for name, digest in zip(NAMES, md5, strict=True)]
    return Parts((files[0], files[2]), (files[1], files[3]))


def read(parts: Parts, records: int | None) -> tuple[Float32, Ints]:
    """The first so many images, float32 (n, h, w) in [0, 1], and their labels, int64 (n,); None reads all.

    Raises:
        UsageError: a file is not in the cache folder and cannot be downloaded.
    """
    images = np.concatenate([_idx(remote) for remote in parts.images])[:records]
    labels = np.concatenate([_idx(remote) for remote in parts.labels])[:records]
    return images / np.float32(255), labels.astype(np.int64)


def _idx(remote: Remote) -> NDArray[np.uint8]:
    """An idx file of bytes: two zeros, the type, the number of dimensions, their sizes (big-endian), the values."""
    content = gzip.decompress(fetch(remote).read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=dimensions, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape.tolist())
