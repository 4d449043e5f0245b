"""Seeds: one root seed, independent streams by name, the same on every machine.

A stream is named by a path such as `("train", "mlp", 3)`. Its seed is taken from SHA-256 of the root seed and
the path, so it depends neither on the order in which streams are asked for nor on how work is split.
"""

import hashlib
import json

import numpy as np


def derive(root: int, *path: str | int) -> int:
    """Return a seed in [0, 2**31) for the stream named by `path`.

    >>> derive(0, "train", 1) == derive(0, "train", 1)
    True
    >>> derive(0, "train", 1) == derive(0, "train", 2)
    False
    """
    digest = hashlib.sha256(json.dumps([root, *path]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def generator(root: int, *path: str | int) -> np.random.Generator:
    """Return numpy's default generator on the stream named by `path`."""
    return np.random.default_rng(derive(root, *path))
