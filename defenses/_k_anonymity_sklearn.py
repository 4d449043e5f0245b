"""Groups of at least k records by a decision tree of scikit-learn."""

from __future__ import annotations

import numpy as np

from ..harness.types import Float32, Ints


def leaves(x: Float32, y: Ints, k: int, seed: int) -> Ints:
    """Leaf of each record (n, features) in a tree fitted to the labels (n,): int64 (n,), none on fewer than k."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(min_samples_leaf=k, random_state=seed).fit(x, y)
    return np.asarray(tree.apply(x), dtype=np.int64)


def representative(records: Float32) -> Float32:
    """The record (features,) that stands for `records` (m, features).

    Each feature takes the value, of those that occur, that is nearest to the median; the first of equally near ones.
    """
    nearest = np.abs(records - np.median(records, axis=0)).argmin(axis=0)
    return np.asarray(records[nearest, np.arange(records.shape[1])])


def anonymised(x: Float32, y: Ints, k: int, seed: int) -> tuple[Float32, Ints, Ints]:
    """Replace each record by the representative of its leaf, with its own label.

    Args:
        x: float32 (n, *shape); shapes are flattened for the tree.
        y: int64 (n,), at least 0.
        k: records that a leaf has at least, at most n.
        seed: breaks ties between equally good splits.

    Returns:
        The distinct pairs of representative and label, float32 (pairs, *shape) and int64 (pairs,), and which pair
        stands for each record, int64 (n,).
    """
    flat = x.reshape(len(x), -1)
    leaf = leaves(flat, y, k, seed)
    classes = int(y.max()) + 1
    pairs, place = np.unique(leaf * classes + y, return_inverse=True)
    found = {own: representative(flat[leaf == own]) for own in np.unique(leaf)}
    records = np.stack([found[own] for own in pairs // classes])
    return records.reshape(-1, *x.shape[1:]), pairs % classes, place
