"""L2: a penalty on the squares of the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar, Protocol, runtime_checkable

from ..harness.checks import positive
from ..harness.protocols import Recipe, Trained
from ..harness.types import Guarantee, Ints, TrainingData
from ._plain import PlainAnswers, PlainTraining
from ._supported import require_supported


@runtime_checkable
class Penalised(Recipe, Protocol):
    """A recipe with the penalty under another name."""

    def penalised(self, weight_decay: float, records: int) -> Recipe:
        """Return the recipe whose mean loss over `records` has (weight_decay / 2) x the squares of its weights."""


@dataclass(frozen=True)
class L2(PlainAnswers, PlainTraining):
    """Plain training of the mean loss plus (weight_decay / 2) x the sum of the squares of all weights.

    A heuristic (Shokri et al. 2017, arXiv:1610.05820, section VIII): small weights cannot follow each record. The
    penalty means the same everywhere: it replaces the `weight_decay` of recipes trained by gradient descent; recipes of
    scikit-learn, which state a penalty in other ways, translate it (`penalised`), and spare the intercepts. A support
    vector machine separates classes by pairs, each with a part of the records, so there the same C is a stronger
    penalty on a mean; a perceptron of scikit-learn penalises a last batch that is smaller by more.

    Attributes:
        weight_decay: weight of the penalty, greater than 0; it takes the place of the recipe's own.
    """

    guarantee: ClassVar[Guarantee] = "heuristic"

    weight_decay: float = 0.003

    def __post_init__(self) -> None:
        positive(weight_decay=self.weight_decay)

    def supports(self, recipe: Recipe, records: int) -> str | None:  # noqa: ARG002 - the protocol's signature
        """Support recipes that have the penalty as a setting, `weight_decay` or another."""
        if not isinstance(recipe, Penalised) and not _has_weight_decay(recipe):
            return f"L2 is not available for this {recipe.framework} recipe, which has no setting for it"
        if getattr(recipe, "train", None) is not None:
            return f"L2 cannot change a training function of the user's; {recipe.framework} trains without one"
        return None

    def training_parameters(self) -> Mapping[str, object]:
        """The penalty changes the weights."""
        return dataclasses.asdict(self)

    def train(
        self, recipe: Recipe, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
    ) -> Iterator[Trained]:
        """Yield one model for each entry of `rows` and `seeds`, in order, trained plainly with the penalty.

        Raises:
            NotApplicable: `supports` has a reason against it.
        """
        require_supported(self, recipe, rows)
        for records, group in groupby(zip(rows, seeds, strict=True), key=lambda pair: len(pair[0])):
            alike = list(group)
            yield from super().train(
                self.applied_to(recipe, records), data, [own for own, _ in alike], [seed for _, seed in alike]
            )

    def applied_to(self, recipe: Any, records: int) -> Any:
        """Return the recipe with this penalty in place of its own, for training on so many records."""
        if isinstance(recipe, Penalised):
            return recipe.penalised(self.weight_decay, records)
        return dataclasses.replace(recipe, weight_decay=self.weight_decay)


def _has_weight_decay(recipe: Any) -> bool:
    return "weight_decay" in {field.name for field in dataclasses.fields(recipe)}
