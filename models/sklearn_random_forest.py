"""Random forest of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..harness.checks import positive
from ..harness.errors import NotApplicable
from ..harness.types import Float32, Ints, TrainingData
from ._processes import fit_in_order
from ._sklearn import SklearnModel, fitted, load_estimator

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

TRUSTED = ("sklearn.tree._tree.Tree",)
"""The compiled tree (arrays of nodes in a Cython class): the one type that skops does not trust by itself."""


class RandomForestModel(SklearnModel):
    """A fitted random forest."""

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:  # noqa: ARG002 - refuses every input
        """Raise `NotApplicable`: the probabilities are steps."""
        raise NotApplicable("a random forest has no input gradients")


@dataclass(frozen=True)
class SklearnRandomForest:
    """A forest of decision trees on bootstrap samples (Breiman 2001).

    Attributes:
        n_estimators: trees, at least 1.
        max_depth: greatest depth, at least 1, or None for trees grown to the end.
        min_samples_leaf: records a leaf must hold, at least 1.
    """

    n_estimators: int = 100
    max_depth: int | None = None
    min_samples_leaf: int = 1

    framework: ClassVar[str] = "sklearn"

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

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> RandomForestModel:
        """Fit on `rows` of `data`, on one core.

        Raises:
            UsageError: the rows hold one class only.
        """
        return RandomForestModel(fitted(self.untrained(seed), data, rows), data.n_classes)

    def fit_pool(self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[RandomForestModel]:
        """Yield one forest for each entry of `rows` and `seeds`, in order; large pools grow on all cores.

        Raises:
            UsageError: the rows of a model hold one class only.
        """
        return fit_in_order(self, data, rows, seeds)

    def load(
        self,
        folder: Path,
        shape: tuple[int, ...],  # noqa: ARG002 - the file knows it
        n_classes: int,
    ) -> RandomForestModel:
        """Read back what `save` wrote.

        Raises:
            UsageError: the file cannot be read or holds something else.
        """
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestModel(load_estimator(folder, RandomForestClassifier, TRUSTED), n_classes)
