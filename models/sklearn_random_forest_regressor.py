"""Random forest of scikit-learn for regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..harness.checks import positive
from ._sklearn_regression import SklearnRegression

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestRegressor


@dataclass(frozen=True)
class SklearnRandomForestRegressor(SklearnRegression):
    """A forest of regression trees on bootstrap samples (Breiman 2001), for numbers on a public grid (`_regression`).

    Attributes:
        n_estimators: trees, at least 1.
        max_depth: greatest depth, at least 1, or None for trees grown to the end.
        min_samples_leaf: records a leaf must hold, at least 1.
    """

    n_estimators: int = 100
    max_depth: int | None = None
    min_samples_leaf: int = 1

    trusted: ClassVar[tuple[str, ...]] = ("sklearn.tree._tree.Tree",)  # arrays of nodes in a compiled class

    def __post_init__(self) -> None:
        positive(n_estimators=self.n_estimators, min_samples_leaf=self.min_samples_leaf)
        if self.max_depth is not None:
            positive(max_depth=self.max_depth)

    def untrained(self, seed: int) -> RandomForestRegressor:
        """The forest before fitting; it grows on one core."""
        from sklearn.ensemble import RandomForestRegressor

        return RandomForestRegressor(
            n_estimators=self.n_estimators,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            random_state=seed,
            n_jobs=1,
        )
