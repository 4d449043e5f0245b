"""What a data set must fulfil before anything is trained on it."""

from __future__ import annotations

import numpy as np

from .errors import UsageError
from .types import Dataset


def check_dataset(dataset: Dataset, source: str) -> None:
    """Refuse records that would make every later number meaningless.

    Raises:
        UsageError: no records, values that are not finite or out of bounds, labels out of range, one class only.
    """
    x, y = dataset.x, dataset.y
    where = f"{source}: {dataset.name}"
    if len(y) == 0 or x.size == 0:
        raise UsageError(f"{where}: no records")
    if len(x) != len(y):
        raise UsageError(f"{where}: {len(x)} records but {len(y)} labels")
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).reshape(len(x), -1).any(axis=1).argmax())
        raise UsageError(f"{where}: record {bad} holds NaN or infinity; features must be finite")
    low, high = dataset.bounds
    if x.min() < low or x.max() > high:
        raise UsageError(f"{where}: features span [{x.min():g}, {x.max():g}], outside the bounds [{low:g}, {high:g}]")
    if y.min() < 0 or y.max() >= dataset.n_classes:
        raise UsageError(f"{where}: labels span {y.min()}..{y.max()}, must lie in 0..{dataset.n_classes - 1}")
    if len(np.unique(y)) < 2:
        raise UsageError(f"{where}: all {len(y)} records have label {y[0]}; at least two classes are needed")
