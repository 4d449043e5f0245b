"""What the defences that change the loop of gradient descent share: which recipes they train, and how.

All of them are heuristics: they make members and non-members harder to tell apart, or not, and promise nothing.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from ..harness.protocols import Model, Recipe, Trained, task_of
from ..harness.types import Guarantee, Ints, TrainingData
from ._plain import PlainAnswers
from ._supported import require_supported


@runtime_checkable
class LoopRecipe(Recipe, Protocol):
    """A recipe of minibatch gradient descent that lets a defence write the loop."""

    @property
    def epochs(self) -> int:
        """Passes over the training rows."""

    @property
    def batch_size(self) -> int:
        """Records in a step."""

    def fit_by(self, loop: Any, data: TrainingData, rows: Ints, seed: int) -> Model:
        """Build the module from `seed`, let `loop(module, x, y)` train it in place, return the model."""


class LoopDefense(PlainAnswers):
    """A defence that trains recipes by a loop of its own, through their `fit_by`, so the models are the recipe's own.

    Batches are drawn as in plain training: from the same stream of the seed, in a new order each epoch. Arithmetic is
    float32, whatever a recipe has for its plain training.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    title: ClassVar[str]
    """The defence in words, for reasons."""

    frameworks: ClassVar[tuple[str, ...]] = ("torch",)
    """Frameworks whose loops the defence has."""

    about_classes: ClassVar[str] = ""
    """What it does that only classes know, for the reason why it refuses regressors; empty where it trains them."""

    def supports(self, recipe: Recipe, records: int) -> str | None:  # noqa: ARG002 - the protocol's signature
        """Support recipes of gradient descent in the frameworks whose loops there are."""
        if recipe.framework not in self.frameworks:
            return f"{self.title} is not available for {recipe.framework} recipes"
        if self.about_classes and task_of(recipe) == "regression":
            return f"{self.title} {self.about_classes}: not this {recipe.framework} regressor"
        if not isinstance(recipe, LoopRecipe):
            return f"{self.title} is not available for this {recipe.framework} recipe, whose loop is its own"
        if getattr(recipe, "train", None) is not None:
            return (
                f"{self.title} cannot change a training function of the user's; {recipe.framework} trains without one"
            )
        return None

    def training_parameters(self) -> Mapping[str, object]:
        """Every parameter changes the weights."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return] # the defences are dataclasses


class Regularised(LoopDefense, ABC):
    """Trains one model at a time by one loop."""

    def train(self, recipe: Any, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[Trained]:
        """Yield one model for each entry of `rows` and `seeds`, in order; nothing formal.

        Raises:
            NotApplicable: `supports` has a reason against it.
            UsageError: training diverged, or the network has nothing that the defence could act on.
        """
        require_supported(self, recipe, rows)
        for own_rows, seed in zip(rows, seeds, strict=True):
            yield Trained(recipe.fit_by(self.loop(recipe, seed), data, own_rows, seed), mechanism=None)

    @abstractmethod
    def loop(self, recipe: Any, seed: int) -> Any:
        """Return the loop that trains a model of `recipe` from `seed`, imported with its framework."""
