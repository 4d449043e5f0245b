"""Plain training and plain answers, for every defence that leaves the one or the other alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..harness.protocols import PoolRecipe, Recipe, Trained
from ..harness.types import Float64, Ints, TrainingData


class PlainTraining:
    """Trains every recipe as it is; such defences share their models (`training_parameters` is empty)."""

    def supports(self, recipe: Recipe, records: int) -> str | None:  # noqa: ARG002 - the protocol's signature
        """Support every recipe."""
        return None

    def training_parameters(self) -> Mapping[str, object]:
        """Nothing about the training is changed."""
        return {}

    def train(
        self, recipe: Recipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
    ) -> Iterator[Trained]:
        """Yield one plainly trained model for each entry of `rows` and `seeds`, in order; nothing formal."""
        if isinstance(recipe, PoolRecipe):
            models = recipe.fit_pool(data, rows, seeds)
        else:
            models = (recipe.fit(data, own_rows, seed) for own_rows, seed in zip(rows, seeds, strict=True))
        for model in models:
            yield Trained(model, mechanism=None)


class PlainAnswers:
    """Answers with the model's own probabilities: what protects it, if anything, is its training."""

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:  # noqa: ARG002
        """The model's own probabilities: float64 (n, classes)."""
        return probabilities
