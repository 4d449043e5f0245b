"""Rows of numbers back to distributions, shared by the defences that change answers."""

from __future__ import annotations

import numpy as np

from ..harness.types import Bools, Float64


def normalised(rows: Float64) -> Float64:
    """Rows (n, classes) of numbers at least 0, divided by their sums; a row of zeros becomes uniform."""
    sums = rows.sum(axis=1, keepdims=True)
    return np.asarray(np.where(sums > 0, rows, 1.0) / np.where(sums > 0, sums, rows.shape[1]))


def with_rest_spread(probabilities: Float64, kept: Bools) -> Float64:
    """The `kept` probabilities of each row (n, classes) as they are; the others share what is left evenly.

    This is what an answer that leaves classes out tells: their sum, and nothing of how it is divided. Dividing the kept
    ones by their sum would hide more than such an answer does. No class that is left out may have a larger probability
    than one that is kept.
    """
    rest = np.where(kept, 0.0, probabilities).sum(axis=1, keepdims=True)
    others = (~kept).sum(axis=1, keepdims=True)
    smallest = np.where(kept, probabilities, np.inf).min(axis=1, keepdims=True)
    share = np.minimum(rest / np.maximum(others, 1), smallest)  # the sum is rounded: a tie must stay a tie
    return np.where(kept, probabilities, share)
