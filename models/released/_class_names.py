"""Classes as a model calls them, and their numbers in the data."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...harness.types import Dataset, Ints

_SHOWN = 10


def class_numbers(labels: NDArray[Any], names: tuple[str, ...], n_classes: int) -> Ints:
    """Numbers 0 .. n_classes - 1 of classes, -1 for what is none: int64 (n,).

    Texts and truth values are names of classes. So are numbers where all classes are named by whole numbers, such as 1
    and 2; else they are the classes' numbers.

    Args:
        labels: classes as a model calls them, (n,).
        names: names of the classes in the data, in order; empty where these have numbers only.
        n_classes: number of classes.

    >>> class_numbers(np.array(["no", "yes", "maybe"]), ("no", "yes"), 2).tolist()
    [0, 1, -1]
    >>> class_numbers(np.array([2.0, 1.0, 0.0]), ("1", "2"), 2).tolist()
    [1, 0, -1]
    >>> class_numbers(np.array([1.0, 0.0]), ("no", "yes"), 2).tolist()
    [1, 0]
    """
    by_place = not names or not all(name.removeprefix("-").isdecimal() for name in names)
    place = {name: i for i, name in enumerate(names)}

    def number(label: object) -> int:
        if isinstance(label, bool) or not isinstance(label, Real):
            return place.get(f"{label}".strip(), -1)
        value = float(label)
        if value % 1 != 0:  # NaN and infinity too
            return -1
        if by_place:
            return int(value) if 0 <= value < n_classes else -1
        return place.get(f"{int(value)}", -1)

    return np.array([number(label) for label in labels.tolist()], dtype=np.int64)


def classes_of(dataset: Dataset) -> str:
    """The classes of the data, for errors."""
    return classes_in_words(dataset.class_names, dataset.n_classes)


def classes_in_words(names: tuple[str, ...], n_classes: int) -> str:
    """Classes by their names, or by their numbers where they have none."""
    if not names:
        return f"0..{n_classes - 1}"
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
