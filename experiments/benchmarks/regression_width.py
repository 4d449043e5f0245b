"""What the width of a regressor's distribution does to attacks, and what the loss leaves out.

    python -m privassay.experiments.benchmarks.regression_width

trains 16 forests of 50 trees on paired halves of 300 records of diabetes, attacks each with the 14 references that are
neither it nor its complement, and prints JSON: the mean AUC of RMIA and of LiRA for several widths, and of LiRA on the
number f(x) itself, for the forest and for a network of 64 units.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from ...attacks.membership.lira import lira_scores
from ...attacks.membership.rmia import rmia_scores
from ...attacks.membership.signals import lira_logit, log_confidence
from ...harness.splits import paired_halves
from ...harness.types import Bools, Dataset, Float64, Split, TrainingData
from ...models.sklearn_random_forest_regressor import SklearnRandomForestRegressor
from ...models.torch_mlp_regressor import TorchMLPRegressor
from ..diabetes import Diabetes

WIDTHS = (5, 10, 20, 40, 80)
MODELS, RECORDS = 16, 300
RECIPES = {"forest": SklearnRandomForestRegressor(n_estimators=50), "network": TorchMLPRegressor(hidden=(64,))}
Attack = Callable[[Float64, Float64, Bools], Float64]


def numbers_of(recipe: Any, dataset: Dataset, split: Split) -> Float64:
    """The numbers f(x) of one model a mask, about all records of the pool: float64 (models, records)."""
    data = TrainingData(dataset.x, dataset.y, dataset.n_classes, dataset.bounds, grid=dataset.grid)
    models = [recipe.fit(data, split.pool[member], seed) for seed, member in enumerate(split.member)]
    return np.stack([model.answers(dataset.x[split.pool]) for model in models])


def distributions(numbers: Float64, grid: Float64, widths: int) -> Float64:
    """Logits of normal distributions, so many widths in the range of the grid: (models, records, grid)."""
    return np.asarray(-0.5 * ((numbers[..., None] - grid) * widths / (grid[-1] - grid[0])) ** 2)


def mean_auc(signals: Float64, member: Bools, attack: Attack) -> float:
    """Mean AUC over all targets, each attacked without its complement."""
    found = []
    for target in range(len(member)):
        others = [model for model in range(len(member)) if model // 2 != target // 2]
        scores = attack(signals[target], signals[others], member[others])
        found.append(roc_auc_score(member[target], scores))
    return round(float(np.mean(found)), 3)


def measured(numbers: Float64, dataset: Dataset, split: Split) -> dict[str, Any]:
    """AUCs by attack, and by width where the attack sees the distribution."""
    assert dataset.grid is not None
    labels, by_width = dataset.y[split.pool], {}
    for widths in WIDTHS:
        logits = distributions(numbers, dataset.grid, widths)
        confidences = np.exp(np.stack([log_confidence(rows, labels, 2.0) for rows in logits]))
        by_width[widths] = {
            "rmia": mean_auc(confidences, split.member, rmia_scores),
            "lira": mean_auc(np.stack([lira_logit(rows, labels) for rows in logits]), split.member, lira_scores),
        }
    return {"widths_in_range": by_width, "lira_on_the_number": mean_auc(numbers, split.member, lira_scores)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both recipes and print what was found."""
    argparse.ArgumentParser(description="Attacks on regressors by the width of their answers.").parse_args(arguments)
    dataset = Diabetes().load()
    split = paired_halves(dataset, MODELS, RECORDS, 0)
    found = {name: measured(numbers_of(recipe, dataset, split), dataset, split) for name, recipe in RECIPES.items()}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
