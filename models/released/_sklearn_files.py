"""Fitted estimators of scikit-learn in files: skops, which builds only objects of listed types, and pickles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...harness.errors import UsageError, told
from ...harness.trust import Trust
from ...harness.types import Dataset
from ._answers import Ask
from ._class_names import Columns, class_numbers, classes_in_words, classes_of, only_counted
from ._frames import by_columns


def skops_estimator(path: Path, trust: Trust) -> Any:
    """Read an estimator from a skops file.

    Raises:
        UsageError: it cannot be read, or it holds types that skops does not list as safe and trust was not given.
    """
    import skops.io

    try:
        unknown = skops.io.get_untrusted_types(file=path)
        if unknown:
            trust.require(path, f"holds types that are not listed as safe: {', '.join(sorted(unknown))}")
        return skops.io.load(path, trusted=unknown)
    except UsageError:
        raise
    except Exception as error:  # zip, JSON, numpy and scikit-learn have no common base
        raise UsageError(f"{path}: cannot be read by skops ({told(error)})") from error


def pickled_estimator(path: Path, trust: Trust) -> Any:
    """Read an estimator from a pickle or a joblib file.

    Raises:
        UsageError: trust was not given, or the file cannot be read.
    """
    trust.require(path, "a pickle runs code when it is read")
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:  # a pickle may raise anything
        raise UsageError(f"{path}: cannot be read ({told(error)})") from error


def probabilities_of(estimator: Any, dataset: Dataset, source: str) -> Ask:
    """How a fitted estimator is asked: by its columns where it knows their names; its answers are named by its classes.

    Classes that are 0, 1, 2 and so on may be codes of the data's, which only the order that the owner states can tell.

    Args:
        estimator: has `predict_proba` and `classes_`.
        dataset: the records.
        source: where it is, for errors.

    Raises:
        UsageError: it has no probabilities, its classes are not those of the data, or its columns not theirs.
    """
    if not hasattr(estimator, "predict_proba"):
        raise UsageError(f"{source}: {type(estimator).__name__} has no predict_proba")
    own = tuple(np.asarray(estimator.classes_).tolist())
    codes = only_counted(own) and len(own) == dataset.n_classes
    classes = class_numbers(own, dataset.class_names, dataset.n_classes)
    if (classes < 0).any() and not codes:
        shown = classes_in_words(tuple(f"{name}" for name in own), len(own))
        raise UsageError(f"{source}: its classes are {shown}, those of the data are {classes_of(dataset)}")

    absent = sorted(set(range(dataset.n_classes)) - set(classes.tolist()))
    if absent and not codes:
        names = dataset.class_names or tuple(f"{number}" for number in range(dataset.n_classes))
        shown = classes_in_words(tuple(names[number] for number in absent), len(absent))
        raise UsageError(f"{source}: never saw these classes of the data: {shown}; leave their records out")

    def ask(table: Any) -> Columns:
        return Columns(own, estimator.predict_proba(table))

    return by_columns(ask, names_of(estimator), dataset, source)


def names_of(estimator: Any) -> Sequence[str] | None:
    """Names of the columns that an estimator was fitted on; None where it was fitted on an array."""
    return getattr(estimator, "feature_names_in_", None)
