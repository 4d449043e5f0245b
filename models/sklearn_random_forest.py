"""Random forest of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..harness.checks import positive
from ._sklearn import SklearnModel, SklearnRecipe

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier


class RandomForestModel(SklearnModel):
    """A fitted random forest."""

    no_gradient: ClassVar[str] = "a random forest has no input gradients: its probabilities are steps"


@dataclass(frozen=True)
class SklearnRandomForest(SklearnRecipe):
    """A forest of decision trees on bootstrap samples (Breiman 2001).

    Attributes:
        n_estimators: trees, at least 1.
        max_depth: greatest depth, at least 1, or None for trees grown to the end.
        min_samples_leaf: records a leaf must hold, at least 1.
    """

    n_estimators: int = 100
    max_depth: int | None = None
    min_samples_leaf: int = 1

    model: ClassVar[type[SklearnModel]] = RandomForestModel
    trusted: ClassVar[tuple[str, ...]] = ("sklearn.tree._tree.Tree",)  # arrays of nodes in a compiled class

    def __post_init__(self) -> None:
        positive(n_estimators=self.n_estimators, min_samples_leaf=self.min_samples_leaf)
        if self.max_depth is not None:
            positive(max_depth=self.max_depth)

    def untrained(self, seed: int) -> RandomForestClassifier:
        """The forest before fitting; it grows on one core."""
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            n_estimators=self.n_estimators,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            random_state=seed,
            n_jobs=1,
        )
