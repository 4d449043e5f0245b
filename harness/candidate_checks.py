"""What only a candidate's own code can tell to be wrong with it, found before any model is trained."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import numpy as np

from .errors import NotApplicable, UsageError, located
from .pool import CandidateSpec
from .preparation import fit
from .protocols import CheckedDefense, CheckedRecipe, prepares_records
from .types import Dataset, Ints, TrainingData

CLASSES, OF_EACH = 4, 16
"""What is tried on: so many records of so many classes. Several of each, for recipes that hold some of them out."""


def check_candidates(specs: Sequence[CandidateSpec], dataset: Dataset, rows: Ints) -> None:
    """Let recipes and defences that have a `check` look at a few records as a model would get them.

    A recipe is asked once, for the first of its candidates. The global generators of Python and numpy are afterwards
    as they were.

    Args:
        specs: the candidates.
        dataset: the records.
        rows: int64 (n,), at least one: records on which one model of each candidate is to be trained.

    Raises:
        UsageError: what a check found; the line names the file and the candidate.
    """
    raw = cache(lambda: _few(dataset, rows))
    prepared = cache(lambda: _prepared(raw(), dataset, rows))
    asked: set[str] = set()
    with _generators_kept():
        for spec in specs:
            recipe, defense = spec.recipe, spec.defense
            few = raw if prepares_records(recipe) else prepared
            with _refusing(spec.where or spec.id):
                if isinstance(recipe, CheckedRecipe) and spec.model not in asked:
                    asked.add(spec.model)
                    recipe.check(few())
                if isinstance(defense, CheckedDefense):
                    defense.check(recipe, few())


def _few(dataset: Dataset, rows: Ints) -> TrainingData:
    """A few of the records `rows`, of the classes that are most frequent in them."""
    labels = dataset.y[rows]
    frequent = np.argsort(-np.bincount(labels), kind="stable")[:CLASSES]
    few = rows[np.sort(np.concatenate([np.flatnonzero(labels == label)[:OF_EACH] for label in frequent]))]
    return TrainingData(
        dataset.x[few],
        dataset.y[few],
        dataset.n_classes,
        dataset.bounds,
        units=None if dataset.units is None else dataset.units[few],
        grid=dataset.grid,
        columns=dataset.columns,
    )


def _prepared(few: TrainingData, dataset: Dataset, rows: Ints) -> TrainingData:
    """The same records as the model gets them that trains on `rows`."""
    if dataset.to_fit is None:
        return few
    own = fit(dataset.to_fit, dataset.x, rows, dataset.bounds)
    return replace(few, x=own.apply(few.x), bounds=own.bounds, columns=None)


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """Put `where` in front of an error's words; what does not apply cannot be trained, so the file is wrong."""
    with located(where):
        try:
            yield
        except NotApplicable as error:
            raise UsageError(str(error)) from error


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Leave the global generators of Python and numpy as they were, whatever a user's code draws from them."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
